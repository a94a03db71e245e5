/* Products of matrices in float32 on the matrix units of a processor (Intel AMX), which multiply bfloat16 and sum in float32.
 *
 * A float is the sum of three bfloat16, its pieces (8 + 8 + 8 bits), and the product of two pieces is exact in float32. So a
 * product of two floats is that of nine pieces, of which the six largest are kept: what is left out is below 2^-24 of it. A
 * spike, a mean of four spikes, a sum of a few, is one piece: then three products are all there are. What the units cannot do: they
 * take numbers below 2^-126 for zero, so that gradients which are small throughout an image are scaled by a power of two on their
 * way; and what is infinite, or within 2^-8 of it, becomes NaN.
 *
 *     product            out[m, n]    = start[n] + sum over taps t and channels c of x[source(m, t), c] * w[n, t, c]
 *     weight_gradient    out[n, t, c] = sum over rows m of g[m, n] * x[source(m, t), c]
 *
 * A convolution, its gradient with respect to its input, and a linear layer (one tap) are all of this form. Rows are pixels,
 * channels last; channels and columns come in sixteens. Each sum goes through its terms in one order, whatever the number of rows
 * or of threads, so that what an image gives does not depend on its batch.
 *
 * A tile is 16 rows of 64 bytes: of a left factor 16 x 32 bfloat16, of a right one 32 x 16, two rows interleaved, of a result
 * 16 x 16 float32. Two by two of them are worked on at a time, and both factors are laid out as such blocks before.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t images, height, width;         /* of the source */
    int64_t rows_height, rows_width;       /* of the rows: images * rows_height * rows_width of them */
    int64_t taps_high, taps_wide, stride, padding;
    int64_t backward;                      /* 1: the source is the gradient of what a convolution gave */
    int64_t channels, columns;             /* of the source, of the result */
    int64_t pieces, weight_pieces;         /* of x; of the weights, or of g: 1 or 3 */
    int64_t threads;
} Product;

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILE 512          /* bfloat16 in a tile */
#define BLOCK 1024        /* float32 in two by two tiles of a result */
#define ROWS 256          /* rows of a result that are worked on at a time: in the second cache, as all that follows */
#define DEPTH 18          /* steps, of 32 terms, of a left factor that are worked on at a time; it fixes the order of the sum */
#define STEPS 18          /* steps of a weight gradient that are worked on at a time */
#define WIDTH 18          /* pairs of tiles of a weight gradient that are worked on at a time */
#define TURNED (8 << 20)  /* bytes of g that are laid out at a time */

typedef uint16_t half;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static void *room(int64_t bytes) { return aligned_alloc(64, (size_t)(up(most(bytes, 64), 64) * 64)); }

/* Whether this processor has matrix units and the system lets us use them. */
int matrix_works(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

/* GCC's header does not say of what reads tiles and their configuration that it reads memory: what is to be read has to be there. */
static inline void settle(void) { __asm__ volatile("" ::: "memory"); }

static void configure(void) {
    static const struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } every_tile_whole =
        {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    settle();
    _tile_loadconfig(&every_tile_whole);
}

/* The next piece of x, as float32 whose last 16 bits are 0; x keeps the rest. */
static inline __m512 piece_of(__m512 *x) {
    __m256i rounded = (__m256i)_mm512_cvtneps_pbh(*x);
    __m512 y = (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
    *x = _mm512_sub_ps(*x, y);
    return y;
}

/* Two rows of pieces interleaved, the first in the lower halves. */
static inline __m512i interleaved(__m512 first, __m512 second) {
    return _mm512_or_si512(_mm512_srli_epi32((__m512i)first, 16), (__m512i)second);
}

/* Pieces of 32 numbers in a row. */
static inline __m512i in_a_row(__m512 *first, __m512 *second) {
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(*second, *first);
    __m512i low = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(both)), 16);
    __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1)), 16);
    *first = _mm512_sub_ps(*first, (__m512)low), *second = _mm512_sub_ps(*second, (__m512)high);
    return both;
}

static inline void transpose(__m512i r[16]) { /* of 16 x 16 numbers of 32 bits */
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

/* Whether every one of `count` numbers is a single piece. */
int matrix_single(const float *x, int64_t count, int64_t threads) {
    const int64_t pace = 1 << 14;
    int single = 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += pace) {
        int going;
#pragma omp atomic read
        going = single;
        if (!going) continue;
        uint32_t seen = 0;
        const uint32_t *bits = (const uint32_t *)x;
        for (int64_t i = from; i < least(count, from + pace); i++) seen |= bits[i];
        if (seen & 0xffff) {
#pragma omp atomic write
            single = 0;
        }
    }
    return single;
}

/* What is worked on at once: a whole product, or, where a stride is undone, the rows of one phase: of all rows every `stride`th in
 * both directions, and of all taps every `stride`th too, since only these meet a pixel of the source. */
typedef struct {
    int64_t high, wide, step;              /* rows of an image; pixels of the source from one row to the next */
    int64_t taps_high, taps_wide;
    int64_t above, before;                 /* lines and pixels of zeros around the source, so that each tap is so many pixels further */
    int64_t lines, line;                   /* of the source with its zeros: lines of an image, and the pixels in one */
    int64_t first_row, first_column, apart; /* rows in the result: where the first is, and how far from one to the next */
    int64_t first_high, first_wide;        /* taps in the weights, likewise */
} View;

static View view_of(const Product *s, int64_t phase_high, int64_t phase_wide) {
    View v = {s->rows_height, s->rows_width, s->stride, s->taps_high, s->taps_wide, s->padding, s->padding, 0, 0, 0, 0, 1, 0, 0};
    if (s->backward) {
        v.step = 1, v.apart = s->stride, v.first_row = phase_high, v.first_column = phase_wide;
        v.high = up(s->rows_height - phase_high, s->stride), v.wide = up(s->rows_width - phase_wide, s->stride);
        v.first_high = (phase_high + s->padding) % s->stride, v.first_wide = (phase_wide + s->padding) % s->stride;
        v.taps_high = up(most(s->taps_high - v.first_high, 0), s->stride), v.taps_wide = up(most(s->taps_wide - v.first_wide, 0), s->stride);
        v.above = v.taps_high - 1 - (phase_high + s->padding) / s->stride, v.before = v.taps_wide - 1 - (phase_wide + s->padding) / s->stride;
    }
    v.lines = (v.high - 1) * v.step + v.taps_high, v.line = (v.wide - 1) * v.step + v.taps_wide;
    return v;
}

static int64_t tap_offset(const Product *s, const View *v, int64_t tap) {
    const int64_t down = tap / v->taps_wide, along = tap % v->taps_wide;
    return s->backward ? (v->taps_high - 1 - down) * v->line + v->taps_wide - 1 - along : down * v->line + along;
}

/* The tap in the weights. */
static int64_t tap_in_weights(const Product *s, const View *v, int64_t tap) {
    return (v->first_high + tap / v->taps_wide * v->apart) * s->taps_wide + v->first_wide + tap % v->taps_wide * v->apart;
}

/* The row in the result. */
static int64_t row_in_result(const Product *s, const View *v, int64_t m) {
    if (v->apart == 1) return m;
    const int64_t y = m / v->wide % v->high, x = m % v->wide, image = m / v->wide / v->high;
    return (image * s->rows_height + v->first_row + y * v->apart) * s->rows_width + v->first_column + x * v->apart;
}

/* Some lines of the view at some channels, as pieces: [pieces][lines * pixels][row]. */
typedef struct {
    int64_t first, lines, row, plane;
    half *at;
} Strip;

static int64_t line_of(const View *v, int64_t m) {
    const int64_t y = m / v->wide;
    return y / v->high * v->lines + y % v->high * v->step;
}

/* Of the lines that `count` rows of the result from `first` on need, at `steps` x 32 channels, in memory that is given. A pixel's
 * channels start at odd multiples of 64 bytes from one another, so that the pixels of a tile do not get in each other's way. */
static Strip strip_of(const View *v, int64_t first, int64_t count, int64_t steps, half *at) {
    Strip strip = {line_of(v, first), 0, (steps | 1) * 32, 0, at};
    strip.lines = line_of(v, first + count - 1) + v->taps_high - strip.first;
    strip.plane = strip.lines * v->line * strip.row;
    return strip;
}

/* The bytes of the largest strip for `count` rows, wherever they are. */
static int64_t strip_bytes(const Product *s, const View *v, int64_t count, int64_t steps) {
    const int64_t whole = up(count, v->wide) + 1, images = up(whole, v->high) + 1; /* that so many rows can touch */
    return least(whole * v->step + images * v->taps_high, s->images * v->lines) * v->line * (steps | 1) * 64 * s->pieces;
}

/* `scale` [images], or NULL: what each image is multiplied by. */
static void lay_strip(const Product *s, const View *v, Strip strip, const float *x, const float *scale, int64_t channel, int64_t steps) {
    for (int64_t i = 0; i < strip.lines; i++) {
        const int64_t image = (strip.first + i) / v->lines, y = (strip.first + i) % v->lines - v->above;
        for (int64_t j = 0; j < v->line; j++) {
            const int64_t z = j - v->before;
            half *to = strip.at + (i * v->line + j) * strip.row;
            if (y < 0 || y >= s->height || z < 0 || z >= s->width) {
                for (int64_t p = 0; p < s->pieces; p++) memset(to + p * strip.plane, 0, (size_t)steps * 64);
                continue;
            }
            const float *from = x + ((image * s->height + y) * s->width + z) * s->channels + channel;
            for (int64_t k = 0; k < steps; k++) {
                const int64_t left = s->channels - channel - 32 * k; /* channels come in sixteens */
                __m512 one = _mm512_loadu_ps(from + 32 * k), two = left > 16 ? _mm512_loadu_ps(from + 32 * k + 16) : _mm512_setzero_ps();
                if (scale) one = _mm512_mul_ps(one, _mm512_set1_ps(scale[image])), two = _mm512_mul_ps(two, _mm512_set1_ps(scale[image]));
                if (s->pieces == 1) _mm512_store_si512(to + 32 * k, (__m512i)_mm512_cvtne2ps_pbh(two, one));
                else for (int64_t p = 0; p < s->pieces; p++) _mm512_store_si512(to + p * strip.plane + 32 * k, in_a_row(&one, &two));
            }
        }
    }
}

/* The pixel of a strip that each of `count` rows of the result from `first` on needs at the first tap. Behind the last row that
 * there is, the last again. */
static void places(const Product *s, const View *v, Strip strip, int64_t first, int64_t count, int32_t *out) {
    int64_t x = first % v->wide, y = first / v->wide % v->high, image = first / v->wide / v->high;
    for (int64_t i = 0; i < count; i++) {
        out[i] = (int32_t)((image * v->lines + y * v->step - strip.first) * v->line + x * v->step);
        if (first + i + 1 >= s->images * v->high * v->wide) continue;
        if (++x == v->wide) x = 0, y++;
        if (y == v->high) y = 0, image++;
    }
}

/* Two tiles side by side in height of a left factor: where they start, the bytes from one of their rows to the next, and how far it
 * is to a step and to a piece. */
typedef struct {
    const half *upper, *lower;
    int64_t bytes, piece;
    const int64_t *step;
} Left;

/* out [2 x 2 tiles] (+)= left times right [2][steps][pieces]. Small products first, in an order in which most find one of their
 * pieces there. Every step ends with a write to nowhere: without these the writes of the result hold the unit up for longer than all
 * of them together take, on the one processor where this was measured. */
#define ONE(l, r) \
    if (left_piece != (l)) { \
        left_piece = (l); \
        _tile_loadd(4, left.upper + left.step[k] + (l) * left.piece, left.bytes); \
        _tile_loadd(5, left.lower + left.step[k] + (l) * left.piece, left.bytes); \
    } \
    if (right_piece != (r)) { \
        right_piece = (r); \
        _tile_loadd(6, right + (r) * TILE, 64); \
        _tile_loadd(7, right + next_right + (r) * TILE, 64); \
    } \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7);

static inline __attribute__((always_inline)) void tiles(Left left, int lefts, const half *right, int64_t next_right, int rights, int64_t steps, float *out, int fresh) {
    float idle[256] __attribute__((aligned(64)));
    settle();
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, out, 64);
        _tile_loadd(1, out + 256, 64);
        _tile_loadd(2, out + 512, 64);
        _tile_loadd(3, out + 768, 64);
    }
    for (int64_t k = 0; k < steps; k++, right += rights * TILE) {
        int left_piece = -1, right_piece = -1;
        if (rights == 3) { ONE(0, 2) ONE(0, 1) }
        if (lefts == 3 && rights == 3) { ONE(1, 1) }
        if (lefts == 3) { ONE(1, 0) ONE(2, 0) }
        ONE(0, 0)
        _tile_stored(7, idle, 64);
    }
    _tile_stored(0, out, 64);
    _tile_stored(1, out + 256, 64);
    _tile_stored(2, out + 512, 64);
    _tile_stored(3, out + 768, 64);
}

static void multiply(Left left, int64_t lefts, const half *right, int64_t next_right, int64_t rights, int64_t steps, float *out, int fresh) {
    if (lefts == 3 && rights == 3) tiles(left, 3, right, next_right, 3, steps, out, fresh);
    else if (rights == 3) tiles(left, 1, right, next_right, 3, steps, out, fresh);
    else if (lefts == 3) tiles(left, 3, right, next_right, 1, steps, out, fresh);
    else tiles(left, 1, right, next_right, 1, steps, out, fresh);
}

/* A row of tiles, at most 32 columns, divided by `scale`, to where it belongs: set, or added to what is there. */
static inline void deliver(const float *block, int64_t row, const float *start, float scale, float *out, int64_t columns, int add) {
    for (int64_t c = 0; c < columns; c += 16) {
        __m512 x = _mm512_load_ps(block + row / 16 * 512 + c * 16 + row % 16 * 16);
        if (scale != 1) x = _mm512_div_ps(x, _mm512_set1_ps(scale));
        if (start) x = _mm512_add_ps(x, _mm512_loadu_ps(start + c));
        if (add) x = _mm512_add_ps(x, _mm512_loadu_ps(out + c));
        _mm512_storeu_ps(out + c, x);
    }
}

/* Left tiles [pairs of tiles][2][steps][pieces]: `count` pixels of a strip at all taps. `step` says where their steps lie in it. */
static void lay_left(const Product *s, Strip strip, const int32_t *place, int64_t count, const int64_t *step, int64_t steps, half *out) {
    for (int64_t r = 0; r < count; r++) {
        half *to = out + r / 16 * steps * s->pieces * TILE + r % 16 * 32;
        const half *from = strip.at + place[r] * strip.row;
        for (int64_t k = 0; k < steps; k++)
            for (int64_t p = 0; p < s->pieces; p++, to += TILE) _mm512_store_si512(to, _mm512_load_si512(from + step[k] + p * strip.plane));
    }
}

/* Whether the 16 rows of each tile are as far from one another as the first two can be, so that tiles can be read from the strip. */
static int regular(const View *v, const int32_t *place, int64_t count) {
    for (int64_t r = 0; r < count; r += 16)
        for (int64_t i = 1; i < 16; i++)
            if (place[r + i] - place[r] != i * v->step) return 0;
    return 1;
}

/* Right tiles [pieces] of weights: columns n..n+15 at 32 channels from c on of one tap. In the backward direction the weights are
 * w[c, t, n], else w[n, t, c]. */
static void lay_weights(const Product *s, const float *w, int64_t n, int64_t tap, int64_t c, half *out) {
    const int64_t taps = s->taps_high * s->taps_wide, there = n < s->columns ? least(32, s->channels - c) : 0;
    __m512i tile[3][16];
    for (int64_t r = 0; r < 16; r++) {
        __m512 one = _mm512_setzero_ps(), two = one;
        const float *at = s->backward ? w + ((c + 2 * r) * taps + tap) * s->columns + n : w + ((n + r) * taps + tap) * s->channels + c;
        if (s->backward ? 2 * r < there : there > 0) one = _mm512_loadu_ps(at);
        if (s->backward ? 2 * r < there : there > 16) two = _mm512_loadu_ps(s->backward ? at + taps * s->columns : at + 16);
        for (int64_t p = 0; p < s->weight_pieces; p++)
            if (s->backward) {
                __m512 first = piece_of(&one);
                tile[p][r] = interleaved(first, piece_of(&two));
            } else tile[p][r] = in_a_row(&one, &two);
    }
    for (int64_t p = 0; p < s->weight_pieces; p++) {
        if (!s->backward) transpose(tile[p]);
        for (int64_t r = 0; r < 16; r++) _mm512_store_si512(out + p * TILE + r * 32, tile[p][r]);
    }
}

/* A product goes by groups of channels: so many steps of 32, fewer in the last, at all taps. */
static int64_t group_steps(const Product *s, const View *v) {
    return most(1, least(up(s->channels, 32), DEPTH / (v->taps_high * v->taps_wide)));
}

/* A panel: right tiles [2][steps][pieces] for 32 columns from n on, of a group of `wide` steps a tap. */
static void lay_panel(const Product *s, const View *v, const float *w, int64_t n, int64_t group, int64_t wide, half *out) {
    for (int64_t j = 0; j < 2; j++)
        for (int64_t k = 0; k < v->taps_high * v->taps_wide * wide; k++, out += s->weight_pieces * TILE)
            lay_weights(s, w, n + 16 * j, tap_in_weights(s, v, k / wide), (group + k % wide) * 32, out);
}

typedef struct { /* what one thread works in */
    half *strip, *left, *right;
    float *blocks;
    int32_t *place;
    int64_t *step;
} Bench;

/* Rows first..first+count of a view, columns from..to. `laid` are all panels, or NULL: then they are made on the way. */
static void some_rows(const Product *s, const View *v, const float *x, const float *scale, const float *w, const half *laid, const float *start,
                      float *out, int64_t first, int64_t count, int64_t from, int64_t to, Bench b) {
    const int64_t each = up(s->channels, 32), taps = v->taps_high * v->taps_wide, lefts = s->pieces, rights = s->weight_pieces;
    const int64_t tall = up(count, 32), pairs = up(to - from, 32), all = up(s->columns, 32);
    for (int64_t group = 0; group < each; group += group_steps(s, v)) {
        const int64_t wide = least(group_steps(s, v), each - group), deep = taps * wide;
        const Strip strip = strip_of(v, first, count, wide, b.strip);
        lay_strip(s, v, strip, x, scale, group * 32, wide);
        places(s, v, strip, first, tall * 32, b.place);
        for (int64_t k = 0; k < deep; k++) b.step[k] = tap_offset(s, v, k / wide) * strip.row + k % wide * 32;
        const int direct = regular(v, b.place, tall * 32);
        if (!direct) {
            lay_left(s, strip, b.place, tall * 32, b.step, deep, b.left);
            for (int64_t k = 0; k < deep; k++) b.step[k] = k * lefts * TILE;
        }
        for (int64_t n = 0; n < pairs; n++) {
            const half *panel = b.right;
            if (laid) panel = laid + (taps * group * all + (from / 32 + n) * deep) * 2 * rights * TILE;
            else lay_panel(s, v, w, from + n * 32, group, wide, b.right);
            for (int64_t r = 0; r < tall; r++) {
                Left left = {b.left + 2 * r * deep * lefts * TILE, b.left + (2 * r + 1) * deep * lefts * TILE, 64, TILE, b.step};
                if (direct) {
                    left.upper = strip.at + b.place[32 * r] * strip.row, left.lower = strip.at + b.place[32 * r + 16] * strip.row;
                    left.bytes = v->step * strip.row * 2, left.piece = strip.plane;
                }
                multiply(left, lefts, panel, deep * rights * TILE, rights, deep, b.blocks + (n * tall + r) * BLOCK, group == 0);
            }
        }
    }
    for (int64_t r = 0; r < count; r++) {
        float *row = out + row_in_result(s, v, first + r) * s->columns + from;
        const float by = scale ? scale[(first + r) / (v->high * v->wide)] : 1;
        for (int64_t n = 0; n < pairs; n++)
            deliver(b.blocks + (n * tall + r / 32) * BLOCK, r % 32, start ? start + from + n * 32 : NULL, by, row + n * 32, least(32, to - from - n * 32), 0);
    }
}

/* The rows of one view. Returns 1 without memory. */
static int product_of(const Product *s, const View *v, const float *x, const float *scale, const float *w, const float *start, float *out) {
    const int64_t rows = s->images * v->high * v->wide, pairs = up(s->columns, 32), each = up(s->channels, 32);
    const int64_t taps = v->taps_high * v->taps_wide, wide = group_steps(s, v), rights = s->weight_pieces;
    const int64_t share = up(up(rows, s->threads), 32) * 32, block = share < 128 ? least(up(rows, 32) * 32, 128) : least(ROWS, share), blocks = up(rows, block);
    const int64_t parts = blocks >= s->threads ? 1 : least(pairs, up(s->threads, blocks)), broad = up(pairs, parts) * 32;
    half *laid = blocks > 1 ? room(taps * each * pairs * 2 * rights * TILE * 2) : NULL;
    int failed = blocks > 1 && !laid;
#pragma omp parallel num_threads(s->threads)
    {
        configure();
        Bench b;
        b.strip = room(strip_bytes(s, v, block, wide)), b.left = room(block * taps * wide * 64 * s->pieces);
        b.right = room(2 * taps * wide * rights * TILE * 2), b.blocks = room(block * broad * 4), b.place = room(block * 4), b.step = room(taps * wide * 8);
        if (!b.strip || !b.left || !b.right || !b.blocks || !b.place || !b.step) {
#pragma omp atomic write
            failed = 1;
        }
        if (laid)
#pragma omp for schedule(static)
            for (int64_t i = 0; i < up(each, wide) * pairs; i++) { /* groups of channels, in each [pairs of columns][panels] */
                const int64_t group = i / pairs * wide, some = least(wide, each - group);
                lay_panel(s, v, w, i % pairs * 32, group, some, laid + (taps * group * pairs + i % pairs * taps * some) * 2 * rights * TILE);
            }
#pragma omp barrier
        int stop;
#pragma omp atomic read
        stop = failed;
        if (!stop)
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < blocks * parts; i++) {
                const int64_t first = i / parts * block, from = i % parts * broad;
                if (from < s->columns) some_rows(s, v, x, scale, w, laid, start, out, first, least(block, rows - first), from, least(s->columns, from + broad), b);
            }
        free(b.strip), free(b.left), free(b.right), free(b.blocks), free(b.place), free(b.step);
        _tile_release();
    }
    free(laid);
    return failed;
}

/* For each image 1, or, where nothing in it is as large as 2^-40, the power of two that takes its largest number to [1, 2). Returns
 * NULL where all are 1. */
static float *scales(const Product *s, const float *x, int *failed) {
    const int64_t size = s->height * s->width * s->channels;
    float *scale = room(s->images * 4);
    int small = 0;
    *failed = !scale;
    if (!scale) return NULL;
#pragma omp parallel for num_threads(s->threads) schedule(static) reduction(| : small)
    for (int64_t image = 0; image < s->images; image++) {
        const float *from = x + image * size;
        float largest = 0;
        for (int64_t i = 0; i < size && largest < 0x1p-40f; i++) largest = fabsf(from[i]) > largest ? fabsf(from[i]) : largest;
        scale[image] = largest > 0 && largest < 0x1p-40f ? ldexpf(1, (int)least(-ilogbf(largest), 126)) : 1;
        small |= scale[image] != 1;
    }
    if (small) return scale;
    free(scale);
    return NULL;
}

/* x [source rows, channels]; w as in lay_weights; start [columns] or NULL; out [rows, columns]. Returns 1 without memory. */
int matrix_product(const Product *s, const float *x, const float *w, const float *start, float *out) {
    const int64_t phases = s->backward ? s->stride : 1;
    int failed = 0;
    float *scale = s->backward ? scales(s, x, &failed) : NULL;
    for (int64_t i = 0; i < phases * phases && !failed; i++) {
        const View v = view_of(s, i / phases, i % phases);
        if (v.high <= 0 || v.wide <= 0) continue; /* images smaller than the stride */
        if (v.taps_high > 0 && v.taps_wide > 0) failed = product_of(s, &v, x, scale, w, start, out);
        else /* pixels that no window has */
            for (int64_t m = 0; m < s->images * v.high * v.wide; m++) memset(out + row_in_result(s, &v, m) * s->columns, 0, (size_t)s->columns * 4);
    }
    free(scale);
    return failed;
}

/* Left tiles [pieces] of g, turned: columns n..n+15 at 32 rows from `first` on. */
static void lay_turned(const Product *s, const float *g, int64_t n, int64_t first, int64_t rows, half *out) {
    __m512i tile[3][16];
    for (int64_t r = 0; r < 16; r++) {
        const int64_t m = first + 2 * r;
        __m512 one = _mm512_setzero_ps(), two = one;
        if (m < rows && n < s->columns) one = _mm512_loadu_ps(g + m * s->columns + n);
        if (m + 1 < rows && n < s->columns) two = _mm512_loadu_ps(g + (m + 1) * s->columns + n);
        for (int64_t p = 0; p < s->weight_pieces; p++) {
            __m512 first_piece = piece_of(&one);
            tile[p][r] = interleaved(first_piece, piece_of(&two));
        }
    }
    for (int64_t p = 0; p < s->weight_pieces; p++) {
        transpose(tile[p]);
        for (int64_t r = 0; r < 16; r++) _mm512_store_si512(out + p * TILE + r * 32, tile[p][r]);
    }
}

/* Right tiles [2][steps][pieces] of 32 channels: 32 * steps pixels of a strip, each `offset` further than its place. */
static void lay_columns(Strip strip, int64_t pieces, const int32_t *place, int64_t offset, int64_t steps, half *out) {
    const __m512i lower = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t r = 0; r < steps * 16; r++) {
            const half *from = strip.at + p * strip.plane + offset * strip.row;
            const __m512i one = _mm512_load_si512(from + place[2 * r] * strip.row), two = _mm512_load_si512(from + place[2 * r + 1] * strip.row);
            half *to = out + (r / 16 * pieces + p) * TILE + r % 16 * 32;
            _mm512_store_si512(to, _mm512_permutex2var_epi16(one, lower, two));
            _mm512_store_si512(to + steps * pieces * TILE, _mm512_permutex2var_epi16(one, upper, two));
        }
}

/* A part of a weight gradient: some blocks of 32 channels at some taps. */
typedef struct {
    int64_t tap, taps, channel, channels;
} Part;

/* blocks [pairs of columns][blocks of channels][taps] = the gradient from 32 * steps rows, of which `turned` are the left tiles. */
static void some_columns(const Product *s, const View *v, const float *x, const half *turned, Part part, int64_t first, int64_t steps, Bench b) {
    const int64_t rows = s->images * s->rows_height * s->rows_width, tall = up(s->columns, 32), lefts = s->weight_pieces, rights = s->pieces;
    for (int64_t done = 0; done < steps; done += STEPS) {
        const int64_t those = least(STEPS, steps - done), from = first + done * 32;
        const Strip strip = strip_of(v, from, least(those * 32, rows - from), 1, b.strip);
        places(s, v, strip, from, those * 32, b.place);
        for (int64_t c = 0; c < part.channels; c++) {
            lay_strip(s, v, strip, x, NULL, (part.channel + c) * 32, 1);
            for (int64_t t = 0; t < part.taps; t++)
                lay_columns(strip, rights, b.place, tap_offset(s, v, part.tap + t), those, b.right + (c * part.taps + t) * 2 * those * rights * TILE);
        }
        for (int64_t n = 0; n < tall; n++) {
            const half *panel = turned + (done * tall + n * those) * 2 * lefts * TILE;
            const Left left = {panel, panel + those * lefts * TILE, 64, TILE, b.step};
            for (int64_t c = 0; c < part.channels * part.taps; c++)
                multiply(left, lefts, b.right + 2 * c * those * rights * TILE, those * rights * TILE, rights, those,
                         b.blocks + (n * part.channels * part.taps + c) * BLOCK, done == 0);
        }
    }
}

/* x [source rows, channels]; g [rows, columns]; out [columns, taps, channels]. Returns 1 without memory. */
int matrix_weight_gradient(const Product *s, const float *x, const float *g, float *out) {
    const int64_t rows = s->images * s->rows_height * s->rows_width, steps = up(rows, 32), taps = s->taps_high * s->taps_wide, each = up(s->channels, 32);
    const int64_t lefts = s->weight_pieces, rights = s->pieces, tall = up(s->columns, 32);
    const View v = view_of(s, 0, 0);
    const int64_t kept = least(TURNED, most(TURNED / 16, 2 * s->columns * taps * s->channels * 4));
    const int64_t chunk = least(steps, most(1, up(kept / (tall * 2 * lefts * TILE * 2), STEPS)) * STEPS);
    /* All taps at once, so that x is laid out once for them, if there are channels enough for all threads. */
    const int64_t lines = taps <= WIDTH && each >= s->threads ? 1 : s->taps_high, some = taps / lines;
    int64_t deep = most(1, least(each, WIDTH / some));
    while (deep > 1 && lines * up(each, deep) < 3 * s->threads) deep = up(deep, 2);
    const int64_t units = lines * up(each, deep);
    half *turned = room(tall * 2 * chunk * lefts * TILE * 2);
    int failed = !turned;
#pragma omp parallel num_threads(s->threads)
    {
        configure();
        Bench b;
        b.right = room(some * deep * 2 * STEPS * rights * TILE * 2), b.strip = room(strip_bytes(s, &v, STEPS * 32, 1));
        b.blocks = room(tall * some * deep * BLOCK * 4), b.place = room(STEPS * 32 * 4), b.step = room(STEPS * 8);
        if (!b.right || !b.strip || !b.blocks || !b.place || !b.step) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
        int stop;
#pragma omp atomic read
        stop = failed;
        for (int64_t k = 0; !stop && k < STEPS; k++) b.step[k] = k * lefts * TILE;
        for (int64_t done = 0; !stop && done < steps; done += chunk) {
            const int64_t now = least(chunk, steps - done);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < up(now, STEPS) * tall * 2; i++) { /* panels [2 tiles of columns][steps][pieces] */
                const int64_t k = i / (tall * 2) * STEPS, few = least(STEPS, now - k), n = i % (tall * 2);
                for (int64_t j = 0; j < few; j++) lay_turned(s, g, n * 16, (done + k + j) * 32, rows, turned + (k * tall * 2 + n * few + j) * lefts * TILE);
            }
#pragma omp for schedule(dynamic)
            for (int64_t u = 0; u < units; u++) {
                Part part = {u % lines * some, some, u / lines * deep, 0};
                part.channels = least(deep, each - part.channel);
                some_columns(s, &v, x, turned, part, done * 32, now, b);
                for (int64_t i = 0; i < tall * part.channels * part.taps; i++) {
                    const int64_t n = i / part.taps / part.channels * 32, c = (part.channel + i / part.taps % part.channels) * 32;
                    for (int64_t r = 0; r < least(32, s->columns - n); r++)
                        deliver(b.blocks + i * BLOCK, r, NULL, 1, out + ((n + r) * taps + part.tap + i % part.taps) * s->channels + c, least(32, s->channels - c), done > 0);
                }
            }
        }
        free(b.right), free(b.strip), free(b.blocks), free(b.place), free(b.step);
        _tile_release();
    }
    free(turned);
    return failed;
}
#else
int matrix_works(void) { return 0; }
#endif
