/* The loops of native.c for one type; included there once for each. */

#define EACH for (int64_t i = 0; i < size; i++)

/* Where a block lies: its first element in a step, its shape, and the channel of its first element. */
typedef struct {
    int64_t start, rows, width, channel;
} NAME(Block);

/* Blocks are numbered within `units`: rows of channels, or planes of one channel each. */
static NAME(Block) NAME(block)(const Setting *s, int64_t number, int64_t room) {
    NAME(Block) b;
    if (s->inner == 1) {
        if (s->channels <= room) { /* several whole rows */
            int64_t rows = room / s->channels, first = number * rows;
            b.start = first * s->channels, b.width = s->channels, b.channel = 0;
            b.rows = s->outer - first < rows ? s->outer - first : rows;
        } else { /* a piece of one row */
            int64_t pieces = (s->channels + room - 1) / room;
            b.channel = number % pieces * room, b.rows = 1;
            b.start = number / pieces * s->channels + b.channel;
            b.width = s->channels - b.channel < room ? s->channels - b.channel : room;
        }
    } else { /* a piece of one plane */
        int64_t pieces = (s->inner + room - 1) / room, plane = number / pieces, from = number % pieces * room;
        b.start = plane * s->inner + from, b.rows = 1, b.channel = plane % s->channels;
        b.width = s->inner - from < room ? s->inner - from : room;
    }
    return b;
}

static int64_t NAME(blocks)(const Setting *s, int64_t room) {
    if (s->inner > 1) return s->outer * s->channels * ((s->inner + room - 1) / room);
    if (s->channels > room) return s->outer * ((s->channels + room - 1) / room);
    int64_t rows = room / s->channels;
    return (s->outer + rows - 1) / rows;
}

/* How many elements of a block fit: their membranes of all steps stay in the cache. */
static int64_t NAME(room)(const Setting *s) {
    int64_t room = 4096 / s->steps;
    return room < 64 ? 64 : room > 1024 ? 1024 : room;
}

/* The noise of the elements from place `at` on. */
static inline void NAME(noise)(const Setting *s, int64_t at, REAL *restrict noise, int64_t size) {
    const uint32_t place = (uint32_t)at, first = (uint32_t)s->first_key, second = (uint32_t)s->second_key;
    const REAL sigma = (REAL)s->sigma;
    EACH noise[i] = sigma * normal(place + (uint32_t)i, first, second);
}

/* What normalises the elements of a block: a slope and an offset for each; NULL where the current comes as it is. */
typedef struct {
    const REAL *slope, *offset;
} NAME(Affine);

/* The values of the block's channels, one for each of its elements. */
static void NAME(each_element)(const Setting *s, NAME(Block) b, const REAL *values, REAL *restrict out) {
    for (int64_t r = 0; r < b.rows; r++)
        for (int64_t i = 0; i < b.width; i++) out[r * b.width + i] = values[b.channel + (s->inner == 1 ? i : 0)];
}

/* The slope and the offset of each element of a block, laid out in `space` [2 * room]. `last` is the block before: most have
 * the channels of their neighbours. */
static NAME(Affine) NAME(affine)(const Setting *s, NAME(Block) b, NAME(Block) *last, const REAL *slope, const REAL *offset,
                                 REAL *space, int64_t room) {
    NAME(Affine) found = {NULL, NULL};
    if (!slope) return found;
    if (b.channel != last->channel || b.width > last->width || b.rows > last->rows) {
        NAME(each_element)(s, b, slope, space);
        NAME(each_element)(s, b, offset, space + room);
        *last = b;
    }
    found.slope = space, found.offset = space + room;
    return found;
}

/* A product and a sum are two roundings, and what comes out is rounded as if it were stored: the same bits as in PyTorch. */
static inline void NAME(charge)(const Setting *s, NAME(Affine) by, const REAL *restrict v, const STORE *restrict current,
                                const REAL *restrict noise, REAL *restrict u, int64_t size, int first) {
    const REAL decay = (REAL)s->decay;
    if (by.slope) EACH { REAL x = LOAD(current[i]) * by.slope[i]; STORE y = SAVE(x + by.offset[i]); u[i] = LOAD(y); }
    else EACH u[i] = LOAD(current[i]);
    if (s->sigma) EACH u[i] += noise[i];
    if (first) return;
    if (s->decay == 1) EACH u[i] += v[i];
    else EACH u[i] += v[i] * decay;
}

static inline void NAME(reset)(const Setting *s, const REAL *restrict u, REAL *restrict v, int64_t size) {
    const REAL threshold = (REAL)s->threshold;
    if (s->subtract) EACH v[i] = u[i] >= threshold ? u[i] - threshold : u[i];
    else EACH v[i] = u[i] >= threshold ? 0 : u[i];
}

/* Adds dL/dI and dL/dI * (x - middle) to the sums of the block's channels, for a current I = slope * x + offset. */
static inline void NAME(add_products)(const Setting *s, NAME(Block) b, const REAL *restrict grad, const STORE *restrict x,
                                      const REAL *restrict middle, double *restrict sum, double *restrict product) {
    if (s->inner == 1) {
        REAL few[1024], products[1024];
        for (int64_t i = 0; i < b.width; i++) few[i] = products[i] = 0;
        for (int64_t r = 0; r < b.rows; r++)
            for (int64_t i = 0; i < b.width; i++) {
                REAL g = grad[r * b.width + i], off = LOAD(x[r * b.width + i]) - middle[b.channel + i];
                few[i] += g, products[i] += g * off;
            }
        for (int64_t i = 0; i < b.width; i++) sum[b.channel + i] += few[i], product[b.channel + i] += products[i];
    } else {
        const REAL centre = middle[b.channel];
        double total = 0, products = 0;
#pragma omp simd reduction(+ : total, products)
        for (int64_t i = 0; i < b.width; i++) {
            double g = (double)grad[i];
            total += g, products += g * (double)(LOAD(x[i]) - centre);
        }
        sum[b.channel] += total, product[b.channel] += products;
    }
}

/* Adds the moments of q, shifted, to sum and square of the block's channels. */
static inline void NAME(add_moments)(const Setting *s, NAME(Block) b, const REAL *restrict q, const double *restrict shift, double *restrict sum, double *restrict square) {
    if (s->inner == 1) {
        REAL few[1024], squares[1024]; /* the rows of one block in REAL, the blocks in double */
        const double *middle = shift + b.channel;
        for (int64_t i = 0; i < b.width; i++) few[i] = squares[i] = 0;
        for (int64_t r = 0; r < b.rows; r++)
            for (int64_t i = 0; i < b.width; i++) {
                REAL x = q[r * b.width + i] - (REAL)middle[i];
                few[i] += x, squares[i] += x * x;
            }
        for (int64_t i = 0; i < b.width; i++) sum[b.channel + i] += few[i], square[b.channel + i] += squares[i];
    } else {
        double total = 0, squares = 0, middle = shift[b.channel];
#pragma omp simd reduction(+ : total, squares)
        for (int64_t i = 0; i < b.width; i++) {
            double x = (double)q[i] - middle;
            total += x, squares += x * x;
        }
        sum[b.channel] += total, square[b.channel] += squares;
    }
}

static inline double NAME(hinge)(const REAL *q, REAL band, int64_t size) {
    double total = 0;
#pragma omp simd reduction(+ : total)
    EACH {
        REAL inside = band - (q[i] < 0 ? -q[i] : q[i]);
        total += inside > 0 ? inside : 0;
    }
    return total;
}

/* h at u - threshold. The numbers of the cases are the places in native.py's table. */
static inline void NAME(slope)(const Setting *s, const REAL *restrict u, REAL *restrict h, int64_t size) {
    const REAL threshold = (REAL)s->threshold, a = (REAL)s->first, b = (REAL)s->second;
#define UBAR REAL x = u[i] - threshold, size_ = x < 0 ? -x : x; (void)size_
    switch (s->surrogate) {
    case 0: { /* triangle */
        REAL scale = 1 / (a * a);
        EACH { UBAR; h[i] = (a > size_ ? a - size_ : 0) * scale; }
    } break;
    case 1: /* rectangular */
        EACH { UBAR; h[i] = size_ < a / 2 ? 1 / a : 0; }
        break;
    case 2: /* sigmoid */
#pragma omp simd
        EACH { UBAR; REAL y = 1 / (1 + EXP(-a * size_)); h[i] = y * (1 - y) * a; }
        break;
    case 3: /* superspike */
        EACH { UBAR; REAL y = 1 + a * size_; h[i] = 1 / (y * y); }
        break;
    case 4: /* atan */
        EACH { UBAR; REAL y = x * ((REAL)1.57079632679489661923 * a); h[i] = a / 2 / (1 + y * y); }
        break;
    case 5: { /* gaussian */
        REAL peak = 1 / (a * (REAL)2.50662827463100050242), factor = (REAL)-0.5 / (a * a);
#pragma omp simd
        EACH { UBAR; h[i] = EXP(x * x * factor) * peak; }
    } break;
    case 6: /* exponential */
#pragma omp simd
        EACH { UBAR; h[i] = EXP(-b * size_) * a; }
        break;
    case 7: { /* dspike; b is the height */
#pragma omp simd
        EACH {
            UBAR;
            REAL near = size_ < (REAL)0.5 ? size_ : (REAL)0.5; /* no overflow far away, where h is 0 */
            REAL e = EXP(a * near), c = (e + 1 / e) / 2;
            h[i] = size_ <= (REAL)0.5 ? b / (c * c) : 0;
        }
    } break;
    }
#undef UBAR
}

/* The membranes that each channel's moments are measured from: those of its first element. Makes the variance of a constant
 * channel exactly 0, and costs one element per channel. */
static void NAME(shifts)(const Setting *s, const STORE *current, const REAL *slope, const REAL *offset, double *shift) {
    const int64_t step = s->outer * s->channels * s->inner;
    for (int64_t c = 0; c < s->channels; c++) {
        REAL v = 0;
        for (int64_t t = 0; t < s->steps; t++) {
            int64_t at = t * step + c * s->inner;
            REAL u, next, noise = 0;
            const NAME(Affine) by = {slope ? slope + c : NULL, slope ? offset + c : NULL};
            if (s->sigma) NAME(noise)(s, at, &noise, 1);
            NAME(charge)(s, by, &v, current + (s->given == 1 ? c * s->inner : at), &noise, &u, 1, t == 0);
            NAME(reset)(s, &u, &next, 1);
            v = next;
            shift[t * s->channels + c] = u - (REAL)s->threshold - noise;
        }
    }
}

/* Spikes of current * slope + offset (both [C], or NULL); and where they are asked for, mean and var [T, C], the summed hinge of
 * each band, and u - threshold (potential), all of u without the noise of its step. Returns 0, or 1 if there is no memory. */
int NAME(forward)(const Setting *s, const STORE *current, const REAL *slope, const REAL *offset, STORE *spikes, double *mean,
                  double *var, const double *bands, double *hinges, REAL *potential) {
    const int64_t step = s->outer * s->channels * s->inner, room = NAME(room)(s), count = NAME(blocks)(s, room);
    const int64_t table = s->moments ? s->steps * s->channels : 0, watched = s->moments || s->bands || potential;
    const int64_t chunks = count < CHUNKS ? count : CHUNKS;
    double *shift = malloc((table + 1) * sizeof(double));
    double *sums = calloc(chunks * (2 * table + BANDS), sizeof(double));
    REAL *space = malloc(chunks * 6 * room * sizeof(REAL));
    if (!shift || !sums || !space) {
        free(shift), free(sums), free(space);
        return 1;
    }
    if (s->moments) NAME(shifts)(s, current, slope, offset, shift);
#pragma omp parallel for schedule(dynamic) num_threads(s->threads)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        double *sum = sums + chunk * (2 * table + BANDS), *square = sum + table, *hinge = square + table;
        REAL *u = space + chunk * 6 * room, *v = u + room, *q = v + room, *noise = q + room, *affine = noise + room;
        NAME(Block) last = {0, 0, 0, -1};
        for (int64_t number = chunk * count / chunks; number < (chunk + 1) * count / chunks; number++) {
            const NAME(Block) b = NAME(block)(s, number, room);
            const int64_t size = b.rows * b.width;
            const NAME(Affine) by = NAME(affine)(s, b, &last, slope, offset, affine, room);
            for (int64_t t = 0; t < s->steps; t++) {
                const int64_t at = t * step + b.start;
                const REAL threshold = (REAL)s->threshold;
                if (s->sigma) NAME(noise)(s, at, noise, size);
                NAME(charge)(s, by, v, current + (s->given == 1 ? b.start : at), noise, u, size, t == 0);
                STORE *fired = spikes + at;
                const STORE one = SAVE(1), none = SAVE(0);
                EACH fired[i] = u[i] >= threshold ? one : none;
                NAME(reset)(s, u, v, size);
                if (!watched) continue;
                if (s->sigma) EACH q[i] = (u[i] - threshold) - noise[i];
                else EACH q[i] = u[i] - threshold;
                if (s->moments)
                    NAME(add_moments)(s, b, q, shift + t * s->channels, sum + t * s->channels, square + t * s->channels);
                for (int64_t k = 0; k < s->bands; k++) hinge[k] += NAME(hinge)(q, (REAL)bands[k], size);
                if (potential) memcpy(potential + at, q, size * sizeof(REAL));
            }
        }
    }
    for (int64_t chunk = 1; chunk < chunks; chunk++)
        for (int64_t i = 0; i < 2 * table + BANDS; i++) sums[i] += sums[chunk * (2 * table + BANDS) + i];
    const double n = (double)(s->outer * s->inner);
    for (int64_t i = 0; i < table; i++) {
        double off = sums[i] / n, spread = sums[table + i] / n - off * off;
        mean[i] = shift[i] + off;
        var[i] = spread > 0 ? spread : 0;
    }
    for (int64_t k = 0; k < s->bands; k++) hinges[k] = sums[2 * table + k];
    free(shift), free(sums), free(space);
    return 0;
}

/* Hands on dL/dI of a block: to `out`, and to the sums of its channels if there are any. */
static inline void NAME(give)(const Setting *s, NAME(Block) b, NAME(Affine) by, const REAL *restrict grad,
                              const STORE *restrict x, const REAL *restrict middle, STORE *restrict out, double *sum,
                              double *product) {
    const int64_t size = b.rows * b.width;
    if (sum) NAME(add_products)(s, b, grad, x, middle, sum, product);
    if (by.slope && !sum) EACH out[i] = SAVE(grad[i] * by.slope[i]);
    else EACH out[i] = SAVE(grad[i]);
}

/* dL/dcurrent, from dL/dspikes (grad, or NULL). What is watched adds constant[t, c] + slope[t, c] * q, where q is u without the
 * noise, -sign(q - threshold) * weights[k] inside band k, and grad_potential. With V = decay * dL/du[t+1]:
 *     reset to zero:  dL/du = h (G - V u) + V (1 - s)        subtract:  dL/du = h (G - V threshold) + V
 * where the second product in the bracket falls away if the reset is detached.
 *
 * Of a current I = slope * x + offset it gives dL/dx = slope * dL/dI; or, where `sums` [2, C] are asked for, dL/dI, and per
 * channel the sums of dL/dI and of dL/dI * (x - middle), from which `normalised` makes dL/dx. */
int NAME(backward)(const Setting *s, const STORE *current, const REAL *slope, const REAL *offset, const REAL *middle,
                   const STORE *grad, const double *constant, const double *linear, const double *bands,
                   const double *weights, const REAL *grad_potential, STORE *out, double *sums) {
    const int64_t step = s->outer * s->channels * s->inner, room = NAME(room)(s), count = NAME(blocks)(s, room);
    const int64_t chunks = count < CHUNKS ? count : CHUNKS, steps = s->steps;
    const int64_t blocks_each = steps + 7 + (s->sigma ? steps : 0); /* u, seven more, and the noise of every step */
    const int64_t table = sums ? 2 * s->channels : 0;
    REAL *space = malloc(chunks * blocks_each * room * sizeof(REAL));
    double *parts = calloc(chunks * table + 1, sizeof(double));
    if (!space || !parts) {
        free(space), free(parts);
        return 1;
    }
#pragma omp parallel for schedule(dynamic) num_threads(s->threads)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        REAL *restrict us = space + chunk * blocks_each * room, *restrict v = us + steps * room, *restrict h = v + room;
        REAL *restrict g = h + room, *restrict later = g + room, *restrict total = later + room;
        REAL *restrict affine = total + room, *restrict noises = affine + 2 * room;
        double *sum = parts + chunk * table, *product = sum + (sums ? s->channels : 0);
        NAME(Block) last = {0, 0, 0, -1};
        const REAL threshold = (REAL)s->threshold, decay = (REAL)s->decay;
        for (int64_t number = chunk * count / chunks; number < (chunk + 1) * count / chunks; number++) {
            const NAME(Block) b = NAME(block)(s, number, room);
            const int64_t size = b.rows * b.width;
            const NAME(Affine) by = NAME(affine)(s, b, &last, slope, offset, affine, room);
            for (int64_t t = 0; t < steps; t++) {
                REAL *noise = noises + (s->sigma ? t * room : 0);
                if (s->sigma) NAME(noise)(s, t * step + b.start, noise, size);
                NAME(charge)(s, by, v, current + b.start + (s->given == 1 ? 0 : t * step), noise, us + t * room, size, t == 0);
                NAME(reset)(s, us + t * room, v, size);
            }
            for (int64_t t = steps - 1; t >= 0; t--) {
                const REAL *u = us + t * room;
                const int64_t at = t * step + b.start;
                NAME(slope)(s, u, h, size);
                if (grad) { const STORE *given = grad + at; EACH g[i] = LOAD(given[i]); }
                else memset(g, 0, size * sizeof(REAL));
                if (t == steps - 1) EACH later[i] = h[i] * g[i];
                else {
                    if (s->decay != 1) EACH later[i] *= decay;
                    if (s->subtract && s->detach_reset) EACH later[i] = later[i] + h[i] * g[i];
                    else if (s->subtract) EACH later[i] = later[i] + h[i] * (g[i] - later[i] * threshold);
                    else if (s->detach_reset) EACH later[i] = h[i] * g[i] + (u[i] >= threshold ? 0 : later[i]);
                    else EACH later[i] = h[i] * (g[i] - later[i] * u[i]) + (u[i] >= threshold ? 0 : later[i]);
                }
                if (constant || s->bands) {
                    const REAL *noise = noises + t * room;
                    if (s->sigma) EACH g[i] = u[i] - noise[i];
                    else EACH g[i] = u[i];
                }
                if (constant && s->inner == 1) {
                    const double *c = constant + t * s->channels + b.channel, *m = linear + t * s->channels + b.channel;
                    for (int64_t r = 0; r < b.rows; r++)
                        for (int64_t i = 0; i < b.width; i++)
                            later[r * b.width + i] += (REAL)c[i] + (REAL)m[i] * g[r * b.width + i];
                } else if (constant) {
                    const REAL c = (REAL)constant[t * s->channels + b.channel], m = (REAL)linear[t * s->channels + b.channel];
                    EACH later[i] += c + m * g[i];
                }
                for (int64_t k = 0; k < s->bands; k++) {
                    const REAL band = (REAL)bands[k], weight = (REAL)weights[k];
                    EACH {
                        REAL x = g[i] - threshold, sign = (REAL)((x > 0) - (x < 0));
                        later[i] -= x * sign < band ? weight * sign : 0;
                    }
                }
                if (grad_potential) EACH later[i] += grad_potential[at + i];
                if (s->given == 1) {
                    if (t == steps - 1) memcpy(total, later, size * sizeof(REAL));
                    else EACH total[i] += later[i];
                } else NAME(give)(s, b, by, later, current + at, middle, out + at, sums ? sum : NULL, product);
            }
            if (s->given == 1) NAME(give)(s, b, by, total, current + b.start, middle, out + b.start, sums ? sum : NULL, product);
        }
    }
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t i = 0; i < table; i++) sums[i] += parts[chunk * table + i];
    free(space), free(parts);
    return 0;
}

/* What is left to do for dL/dx after `backward` has given sums: out * slope + constant + linear * (x - middle), in place. */
int NAME(normalised)(const Setting *s, const STORE *x, const REAL *slope, const REAL *middle, const REAL *constant,
                     const REAL *linear, STORE *out) {
    const int64_t room = NAME(room)(s), count = NAME(blocks)(s, room), step = s->outer * s->channels * s->inner;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t number = 0; number < count; number++) {
        const NAME(Block) b = NAME(block)(s, number, room);
        for (int64_t t = 0; t < s->given; t++)
            for (int64_t r = 0; r < b.rows; r++) {
                const STORE *from = x + t * step + b.start + r * b.width;
                STORE *to = out + t * step + b.start + r * b.width;
                for (int64_t i = 0; i < b.width; i++) {
                    const int64_t k = b.channel + (s->inner == 1 ? i : 0);
                    to[i] = SAVE(LOAD(to[i]) * slope[k] + (constant[k] + linear[k] * (LOAD(from[i]) - middle[k])));
                }
            }
    }
    return 0;
}

/* Mean and biased variance [C] of a current over its steps, its samples and their places. Returns 0, or 1 if there is no memory. */
int NAME(batch_moments)(const Setting *s, const STORE *current, double *mean, double *var) {
    const int64_t step = s->outer * s->channels * s->inner, room = NAME(room)(s), count = NAME(blocks)(s, room);
    const int64_t table = s->channels, chunks = count < CHUNKS ? count : CHUNKS;
    double *shift = malloc(table * sizeof(double)), *sums = calloc(chunks * 2 * table, sizeof(double));
    REAL *space = malloc(chunks * room * sizeof(REAL));
    if (!shift || !sums || !space) {
        free(shift), free(sums), free(space);
        return 1;
    }
    for (int64_t c = 0; c < table; c++) shift[c] = LOAD(current[c * s->inner]);
#pragma omp parallel for schedule(dynamic) num_threads(s->threads)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        double *sum = sums + chunk * 2 * table, *square = sum + table;
        REAL *q = space + chunk * room;
        for (int64_t number = chunk * count / chunks; number < (chunk + 1) * count / chunks; number++) {
            const NAME(Block) b = NAME(block)(s, number, room);
            const int64_t size = b.rows * b.width;
            for (int64_t t = 0; t < s->given; t++) {
                const STORE *x = current + t * step + b.start;
                EACH q[i] = LOAD(x[i]);
                NAME(add_moments)(s, b, q, shift, sum, square);
            }
        }
    }
    for (int64_t chunk = 1; chunk < chunks; chunk++)
        for (int64_t i = 0; i < 2 * table; i++) sums[i] += sums[chunk * 2 * table + i];
    const double n = (double)(s->given * s->outer * s->inner);
    for (int64_t c = 0; c < table; c++) {
        double off = sums[c] / n, spread = sums[table + c] / n - off * off;
        mean[c] = shift[c] + off;
        var[c] = spread > 0 ? spread : 0;
    }
    free(shift), free(sums), free(space);
    return 0;
}

/* The noise of all elements of a dense tensor, as the loops above draw it. */
void NAME(fill)(const Setting *s, STORE *noise, int64_t size) {
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t from = 0; from < size; from += 1024) {
        REAL few[1024];
        const int64_t count = size - from < 1024 ? size - from : 1024;
        NAME(noise)(s, from, few, count);
        for (int64_t i = 0; i < count; i++) noise[from + i] = SAVE(few[i]);
    }
}

/* Spikes to bits, eight to a byte, and back. */
void NAME(pack)(const STORE *spikes, uint8_t *bits, int64_t size, int64_t threads) {
    const int64_t whole = size / 8;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < whole; i++) {
        uint8_t byte = 0;
        for (int k = 0; k < 8; k++) byte |= (uint8_t)((spikes[8 * i + k] != 0) << k);
        bits[i] = byte;
    }
    if (size % 8) bits[whole] = 0;
    for (int64_t i = 8 * whole; i < size; i++) bits[whole] |= (uint8_t)((spikes[i] != 0) << (i % 8));
}

void NAME(unpack)(const uint8_t *bits, STORE *spikes, int64_t size, int64_t threads) {
    const STORE one = SAVE(1), none = SAVE(0);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < size / 8; i++)
        for (int k = 0; k < 8; k++) spikes[8 * i + k] = bits[i] >> k & 1 ? one : none;
    for (int64_t i = size / 8 * 8; i < size; i++) spikes[i] = bits[i / 8] >> (i % 8) & 1 ? one : none;
}

#undef EACH
#undef SUFFIX
#undef STORE
#undef REAL
#undef LOAD
#undef SAVE
#undef EXP
