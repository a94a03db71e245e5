/* c[0] * skip + c[1] * branch, and its gradients, in one pass over memory each. All tensors are dense and lie alike. */
#include <stdint.h>

#define PACE 16384 /* numbers that one thread takes at a time, and whose products are summed together: no matter how many threads */
#define LANES 16

void merged(int64_t count, const float *c, const float *skip, const float *branch, float *out, int64_t threads) {
    const float a = c[0], b = c[1];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) out[i] = a * skip[i] + b * branch[i];
    (void)threads;
}

/* of_skip = c[0] * g and of_branch = c[1] * g; sums [up(count / PACE)][2]: of g * skip and of g * branch, to be added up. */
void merged_backward(int64_t count, const float *c, const float *g, const float *skip, const float *branch, float *of_skip, float *of_branch,
                     double *sums, int64_t threads) {
    const float a = c[0], b = c[1];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += PACE) {
        const int64_t to = from + PACE < count ? from + PACE : count;
        double first[LANES] = {0}, second[LANES] = {0};
        int64_t i = from;
        for (; i + LANES <= to; i += LANES)
            for (int64_t j = 0; j < LANES; j++) {
                const float here = g[i + j];
                of_skip[i + j] = a * here, of_branch[i + j] = b * here;
                first[j] += (double)here * skip[i + j], second[j] += (double)here * branch[i + j];
            }
        for (; i < to; i++) {
            of_skip[i] = a * g[i], of_branch[i] = b * g[i];
            first[0] += (double)g[i] * skip[i], second[0] += (double)g[i] * branch[i];
        }
        double *sum = sums + from / PACE * 2;
        sum[0] = sum[1] = 0;
        for (int64_t j = 0; j < LANES; j++) sum[0] += first[j], sum[1] += second[j];
    }
    (void)threads;
}
