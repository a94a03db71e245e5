/* The time loop of the leaky integrate-and-fire neuron in one pass over memory: each block of the current is read once, for all
 * time steps, and its membranes never leave the cache.
 *
 *     u[t] = decay * v[t-1] + I[t]       s[t] = u[t] >= threshold       v[t] = u[t] (1 - s[t])   or   u[t] - threshold s[t]
 *
 * A normalisation before the neuron goes the same way: I = slope * x + offset, per channel, on x as it is read.
 * The backward pass makes u again from the current instead of reading it, so that nothing is kept but the current itself.
 * This file is compiled once per type: STORE is how currents and spikes lie in memory, REAL is what is computed with.
 * Built by build.py with -ffp-contract=off: a product and a sum are two roundings here, as in every other backend.
 *
 * A step is seen as [outer, channels, inner]: inner is 1 where channels come last in memory, and the size of an image where
 * they come first. A block is `rows` x `width` elements that lie in a row.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t steps, given;           /* T, and how many steps of current there are: T or 1 */
    int64_t outer, channels, inner; /* one step */
    double decay, threshold;
    int64_t subtract, detach_reset;
    int64_t surrogate; /* the place in native.py's table */
    double first, second; /* its constants */
    int64_t moments, bands, threads;
    double sigma;  /* of the noise that is added to the membrane in each step; 0 for none */
    int64_t first_key, second_key;
} Setting;

#define BANDS 8     /* the most bands that can be watched at once */
#define CHUNKS 32   /* partial sums of the moments: a fixed number, so that the result does not depend on the threads */

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(x) PASTE(x, SUFFIX)

static inline float from_bfloat16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

static inline uint16_t to_bfloat16(float y) { /* to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &y, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(y == y ? rounded : 0x7fc0u);
}

/* e^x within two units of the last place, in a form that compilers turn into vector instructions (the library's is a call). */
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504088896f), r = x - n * 0.693145751953125f - n * 1.42860682030941723e-6f, y = 1.0f / 5040;
    y = y * r + 1.0f / 720, y = y * r + 1.0f / 120, y = y * r + 1.0f / 24, y = y * r + 1.0f / 6, y = y * r + 0.5f;
    y = (y * r + 1) * r + 1;
    int32_t scale = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &scale, 4);
    return y * power;
}

static inline uint32_t mixed(uint32_t x) { /* a bijection of 32 bits, three rounds of xorshift and multiply */
    x ^= x >> 17, x *= 0xed5ad4bbu;
    x ^= x >> 11, x *= 0xac4c1b51u;
    x ^= x >> 15, x *= 0x31848babu;
    return x ^ x >> 14;
}

/* A standard normal number for each place and pair of keys (Box and Muller 1958): the same wherever and whenever it is asked
 * for, so that noise need not be kept for the backward pass. */
static inline float normal(uint32_t place, uint32_t first_key, uint32_t second_key) {
    const uint32_t one = mixed(place ^ first_key), two = mixed(one + second_key);
    const float u = ((float)(int32_t)(one >> 8) + 0.5f) * 0x1p-24f;        /* in (0, 1) */
    const float z = fabsf((float)(int32_t)two * 0x1p-32f) - 0.25f;         /* a turn's fraction, in [-1/4, 1/4] */
    int32_t bits;
    memcpy(&bits, &u, 4);
    const int32_t exponent = (bits - 0x3f3504f3) >> 23; /* u = mantissa * 2^exponent, mantissa in [sqrt(1/2), sqrt(2)) */
    const int32_t rest = bits - exponent * (1 << 23);
    float m;
    memcpy(&m, &rest, 4);
    m -= 1;
    /* ln(1 + m) = 2 artanh(m / (2 + m)) */
    const float w = m / (2 + m), v = w * w;
    const float log = (float)exponent * 0.693147180559945f + 2 * w * (1 + v * (1.0f / 3 + v * (0.2f + v * (1.0f / 7 + v * (1.0f / 9)))));
    const float a = 6.28318530717959f * z, b = a * a;
    const float sine = a * (1 + b * (-1.0f / 6 + b * (1.0f / 120 + b * (-1.0f / 5040 + b * (1.0f / 362880 - b * (1.0f / 39916800))))));
    return sqrtf(-2 * log) * sine;
}

#define SUFFIX f32
#define STORE float
#define REAL float
#define LOAD(x) (x)
#define SAVE(x) (x)
#define EXP exponential
#include "native_loops.h"

#define SUFFIX f64
#define STORE double
#define REAL double
#define LOAD(x) (x)
#define SAVE(x) (x)
#define EXP exp
#include "native_loops.h"

#define SUFFIX bf16
#define STORE uint16_t
#define REAL float
#define LOAD(x) from_bfloat16(x)
#define SAVE(x) to_bfloat16(x)
#define EXP exponential
#include "native_loops.h"
