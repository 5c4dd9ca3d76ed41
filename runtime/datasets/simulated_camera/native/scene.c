// The two loops of a simulated camera: limbs over a picture (runtime/datasets/performers/figure.py) and the pixels of the sensor
// (runtime/datasets/simulated_camera/sensor.py). Both files have the equations. Every operation is rounded once, in the order of the NumPy code
// that tests/runtime/datasets/performers/simulated_in_numpy.py keeps, and events have the same bits.
#include <math.h>
#include <stdint.h>

enum { TEXELS_ALONG = 32, TEXELS_ACROSS = 8 };

struct canvas {
    float *image;          // [height][width]
    const float *textures; // [k][TEXELS_ALONG][TEXELS_ACROSS]
    int64_t height, width;
    double x, y, scale, depth, girth; // the origin in the picture, its scale; how far the camera is; times every radius
};

struct limb { // runtime/datasets/simulated_camera/native/__init__.py: LIMB
    double ax, ay, az, bx, by, bz, radius_a, radius_b, tone, texture, hand;
};

static float clip(float value, float low, float high) { return value < low ? low : value > high ? high : value; }

static int64_t from(double least) { return least < 0 ? 0 : (int64_t)least; }

static int64_t until(double most, int64_t size) {
    int64_t end = (int64_t)most + 2;
    return end < size ? end : size;
}

static void paint_limb(const struct canvas *to, const struct limb *limb) {
    double near_a = to->scale / (1 - fmin(limb->az / to->depth, 0.8));
    double near_b = to->scale / (1 - fmin(limb->bz / to->depth, 0.8));
    double ra = limb->radius_a * near_a * to->girth, rb = limb->radius_b * near_b * to->girth;
    double ax = to->x + near_a * limb->ax, ay = to->y + near_a * limb->ay;
    double bx = to->x + near_b * limb->bx, by = to->y + near_b * limb->by;
    double rim = fmax(ra, rb) + 1;
    if (!(isfinite(ax + ay + bx + by) && fmax(fmax(fabs(ax), fabs(ay)), fmax(fabs(bx), fabs(by))) < 1e6 && rim < 1e6))
        return; // no place in a picture
    int64_t left = from(fmin(ax, bx) - rim), right = until(fmax(ax, bx) + rim, to->width);
    int64_t top = from(fmin(ay, by) - rim), bottom = until(fmax(ay, by) + rim, to->height);
    double ex = bx - ax, ey = by - ay, length2 = ex * ex + ey * ey + 1e-3, length = sqrt(length2);
    float slope_x = (float)(ex / length2), slope_y = (float)(ey / length2);
    float unit_x = (float)(ex / length), unit_y = (float)(ey / length);
    float along_x = (float)ex, along_y = (float)ey, from_x = (float)ax, from_y = (float)ay;
    float thick = (float)ra, grows = (float)(rb - ra), tone = (float)limb->tone;
    const float last_along = (float)(TEXELS_ALONG - 0.01), last_across = (float)(TEXELS_ACROSS / 2.0 - 0.01);
    const float *texture = to->textures + (int64_t)limb->texture * (TEXELS_ALONG * TEXELS_ACROSS);
    for (int64_t row = top; row < bottom; row++) {
        float y = (float)row - from_y, *pixels = to->image + row * to->width;
        for (int64_t column = left; column < right; column++) {
            float x = (float)column - from_x;
            float u = clip(x * slope_x + y * slope_y, 0, 1);
            float px = x - u * along_x, py = y - u * along_y, distance2 = px * px + py * py;
            float radius = thick + u * grows, reach = radius + 0.51F;
            if (distance2 > reach * reach || !(radius > 0)) continue; // not covered, whatever the rounding
            float cover = clip(radius - sqrtf(distance2) + 0.5F, 0, 1);
            float across = clip((y * unit_x - x * unit_y) / radius, -1, 1);
            int texel = (int)(u * last_along) * TEXELS_ACROSS + (int)((across + 1) * last_across);
            float value = texture[texel];
            if (limb->hand != 0 && u > 0.5F && value < 0.75F) cover *= 0.25F; // a gap between two fingers
            value *= (1 - 0.35F * across * across) * tone;
            pixels[column] += cover * (value - pixels[column]);
        }
    }
}

// Paints limbs [count] over the picture, one over the other.
void scene_paint(const struct canvas *to, const struct limb *limbs, int64_t count) {
    for (int64_t i = 0; i < count; i++) paint_limb(to, limbs + i);
}

struct pixels {
    const float *on, *off, *refractory_us, *leak; // [count]; leak in log intensity a microsecond
    float *reference, *level;                     // [count], of the frame before
    double *last_us;                              // [count]: of each pixel's last event
    int32_t *crossing, *levels;                   // [count], scratch: which pixels cross, and how many levels each
    int32_t *at;                                  // [room]: pixel, time and polarity of the events
    double *t_us;
    uint8_t *up;
    int64_t count, room, leaks;
};

// Goes on from the frame at before_us to the one at now_us, whose log intensity is `level`: appends its events behind the first
// `used`, those that cross their first level in the order of pixels, then those that cross a second one ... Returns how many
// there are then; or, where that is more than there is room for, how much room it needs, and nothing has changed. -1: a level
// is not finite.
int64_t scene_see(struct pixels *p, const float *level, double before_us, double now_us, int64_t used) {
    double span_us = now_us - before_us;
    float leaked_us = p->leaks ? (float)span_us : 0;
    int64_t crossing = 0, needed = used;
    for (int64_t i = 0; i < p->count; i++) {
        float difference = level[i] - (p->reference[i] - p->leak[i] * leaked_us);
        if (!(difference >= p->on[i] || difference <= -p->off[i])) continue;
        float many = floorf(fabsf(difference) / (difference > 0 ? p->on[i] : p->off[i]));
        if (!(many < 1e6F)) return -1;
        int32_t levels = many < 1 ? 1 : (int32_t)many; // the comparison decides; the division may round below 1
        p->crossing[crossing] = (int32_t)i;
        p->levels[crossing++] = difference > 0 ? levels : -levels;
        needed += levels;
    }
    if (needed > p->room) return needed;
    for (int64_t i = 0; p->leaks && i < p->count; i++) p->reference[i] -= p->leak[i] * leaked_us;
    for (int32_t k = 1; crossing > 0; k++) {
        int64_t more = 0;
        for (int64_t c = 0; c < crossing; c++) {
            int32_t i = p->crossing[c], levels = p->levels[c];
            int up = levels > 0;
            float size = up ? p->on[i] : -p->off[i], start = p->level[i], slope = level[i] - start;
            float reached = p->reference[i] + (float)k * size;
            double t = before_us + span_us * (double)clip((reached - start) / (slope == 0 ? 1 : slope), 0, 1);
            if (t - p->last_us[i] >= (double)p->refractory_us[i]) {
                p->last_us[i] = t;
                p->at[used] = i;
                p->t_us[used] = t;
                p->up[used++] = (uint8_t)up;
            }
            if (k < (up ? levels : -levels)) {
                p->crossing[more] = i;
                p->levels[more++] = levels;
            } else {
                p->reference[i] = reached;
            }
        }
        crossing = more;
    }
    for (int64_t i = 0; i < p->count; i++) p->level[i] = level[i];
    return used;
}
