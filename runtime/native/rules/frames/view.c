/* Where an event lands: sensor coordinates -> cell of the frame [p, y, x].
 *
 *     orientation   stored   (x, y)
 *                   upright  as the file format or the user says: identity, rotate180 (W-1-x, H-1-y), flip_y (x, H-1-y),
 *                            rotate90 (H-1-y, x) or rotate270 (y, W-1-x), the axes exchanged
 *                   sj       (H-1-y, W-1-x): what SpikingJelly stores for CIFAR10-DVS, the axes exchanged
 *                   paper    (W-1-x, y)
 *     shape         stretch  all of the sensor
 *                   square   the largest square in the middle, before it is turned; events beside it land nowhere
 *     resize        sum      x * w // W, y * h // H: events that land together add up; also auto, where no card says more
 *                   nearest  cell i shows pixel (2 i + 1) W // 2 w; others land nowhere. sum where W <= w
 *                   crop     the centre; events outside it land nowhere
 *     polarity      stored   channel 1 = ON;  swapped: channel 0 = ON.  One channel takes both.
 *
 * (W, H) is the sensor or its square, (w, h) the network's input. Row and column each depend on one coordinate only, so two small tables hold it all. */
#include "framer.h"
#include "../../error.h"

#include <stdlib.h>

#define NOWHERE (-((int64_t)1 << 40)) /* so far below zero that no sum with others is a cell */

/* Coordinate `at` of a picture of `size`, in a frame of `target`. */
static int64_t place(int64_t at, int64_t size, int64_t target, int resize) {
    if (resize == RESIZE_CROP) { /* halves round down, as Python's do */
        const int64_t more = size - target, moved = at - (more >= 0 ? more / 2 : -((1 - more) / 2));
        return moved >= 0 && moved < target ? moved : NOWHERE;
    }
    if (resize == RESIZE_NEAREST && size > target) { /* the first cell whose pixel is not before this one */
        const int64_t cell = (2 * target * at + size - 1) / (2 * size);
        return cell < target && (2 * cell + 1) * size / (2 * target) == at ? cell : NOWHERE;
    }
    return at * target / size;
}

/* The same of a sensor of `size`, of which `side` in the middle are the picture, perhaps the other way round. */
static int64_t place_of(int64_t at, int64_t size, int64_t side, int turned, int64_t target, int resize) {
    at -= (size - side) / 2;
    if (at < 0 || at >= side) return NOWHERE;
    return place(turned ? side - 1 - at : at, side, target, resize);
}

static int64_t times(int64_t at, int64_t width) { return at < 0 ? NOWHERE : at * width; }

/* Whether events of such a sensor can be framed for an input [c, h, w]: 0, or a code and its text. upright: 0 stored as
 * it is, 1 turned by 180 degrees, 2 mirrored top to bottom, 3 and 4 turned by 90 and 270 degrees clockwise. */
COLD int plif_view_check(const int shape[3], int width, int height, int upright) {
    const int channels = shape[0];
    if (channels != 1 && channels != 2)
        return plif_fail(PLIF_UNSUPPORTED,
                         "a network input of %d channels takes no events; expected 2 (OFF, ON) or 1 (both)", channels);
    if (shape[1] < 1 || shape[2] < 1)
        return plif_fail(PLIF_UNSUPPORTED, "a network input of %d x %d x %d has no cells", channels, shape[1],
                         shape[2]);
    if (width < 1 || height < 1 || width > 65536 || height > 65536)
        return plif_fail(PLIF_BAD_ARGUMENT, "a sensor of %d x %d; expected 1 x 1 to 65536 x 65536", width, height);
    if (upright < 0 || upright > 4) return plif_fail(PLIF_BAD_ARGUMENT, "upright %d; expected 0 to 4", upright);
    return 0;
}

/* How a coordinate of the sensor becomes one of the picture: `side` in the middle of `size`, perhaps the other way
 * round, in so many cells; stride: from cell to cell in a channel of the frame. */
typedef struct {
    int64_t size, side, turned, target, stride;
} Axis;

/* Those of x and of y; true where x of the sensor is y of the picture. */
static int axes_of(const Framing *framing, const int shape[3], int width, int height, int upright, Axis *x, Axis *y) {
    const int h = shape[1], w = shape[2], o = framing->orientation;
    const int turn = o == UPRIGHT ? upright : 0, exchanged = o == SJ || turn >= 3;
    const int turned_x = o == PAPER || o == SJ || turn == 1 || turn == 4,
              turned_y = o == SJ || (turn >= 1 && turn <= 3);
    const int64_t shorter = width < height ? width : height;
    *x = (Axis){width, framing->square ? shorter : width, turned_x, exchanged ? h : w, exchanged ? w : 1};
    *y = (Axis){height, framing->square ? shorter : height, turned_y, exchanged ? w : h, exchanged ? 1 : w};
    return exchanged;
}

/* The tables: where an event lands is of_x[x] + of_y[y] + of_p[p], below zero for nowhere. */
COLD void plif_view(const Framing *framing, const int shape[3], int width, int height, int upright, int64_t *of_x,
                    int64_t *of_y, int64_t of_p[2]) {
    const int channels = shape[0];
    const int64_t cells = (int64_t)shape[1] * shape[2];
    Axis a, b;
    axes_of(framing, shape, width, height, upright, &a, &b);
    for (int64_t i = 0; i < width; i++)
        of_x[i] = times(place_of(i, a.size, a.side, (int)a.turned, a.target, framing->resize), a.stride);
    for (int64_t i = 0; i < height; i++)
        of_y[i] = times(place_of(i, b.size, b.side, (int)b.turned, b.target, framing->resize), b.stride);
    const int on = framing->swapped ? 0 : 1;
    of_p[0] = channels == 2 ? (int64_t)(1 - on) * cells : 0;
    of_p[1] = channels == 2 ? (int64_t)on * cells : 0;
}

static int64_t up_divided(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

/* The first cell whose middle is not before pixel `at` where the picture is 8/5 as large about middle2 / 2, which is
 * shown at `place`:   at least 8/5 (at target / side - middle2 / 2) + place - 1/2 */
static int32_t edge_of(int64_t at, const Axis *a, int64_t middle2, int64_t place) {
    const int64_t cell = place + up_divided(16 * at * a->target - 8 * middle2 * a->side - 5 * a->side, 10 * a->side);
    return (int32_t)(cell < 0 ? 0 : cell > a->target ? a->target : cell);
}

static void enlarge(const Axis *a, int64_t middle2, int64_t place, Cells *of) {
    for (int64_t i = 0; i < a->size; i++) {
        int64_t at = i - (a->size - a->side) / 2;
        of[i] = (Cells){0, 0};
        if (at < 0 || at >= a->side) continue;
        if (a->turned) at = a->side - 1 - at;
        of[i] = (Cells){edge_of(at, a, middle2, place), edge_of(at + 1, a, middle2, place)};
    }
}

COLD void plif_view_enlarged(const Framing *framing, const int shape[3], int width, int height, int upright, int x2,
                             int y2, Cells *of_x, Cells *of_y, int64_t *stride_x, int64_t *stride_y) {
    const int64_t place_x = shape[2] / 2, place_y = 83 * (int64_t)shape[1] / 128;
    Axis a, b;
    const int exchanged = axes_of(framing, shape, width, height, upright, &a, &b);
    enlarge(&a, exchanged ? y2 : x2, exchanged ? place_y : place_x, of_x);
    enlarge(&b, exchanged ? x2 : y2, exchanged ? place_x : place_y, of_y);
    *stride_x = a.stride;
    *stride_y = b.stride;
}

int plif_framer_init(Framer *f, const Framing *framing, const int shape[3], int width, int height, int upright,
                     Extent extent) {
    *f = (Framer){.framing = *framing, .extent = extent};
    TRY(plif_view_check(shape, width, height, upright));
    if (is_whole(framing) && extent.total < 0)
        return plif_fail(
            PLIF_BAD_ARGUMENT,
            "framings count: and time: need the number of events and their times beforehand (total_events, "
            "first_us, last_us), which a live source cannot tell: use duration:10ms or events:n=5000,max=20ms");
    if (!possible(extent.first_us) || !possible(extent.last_us))
        return plif_fail(PLIF_BAD_ARGUMENT, "first_us and last_us: %lld and %lld us are no times",
                         (long long)extent.first_us, (long long)extent.last_us);
    f->row = (int64_t)shape[0] * shape[1] * shape[2];
    f->cells = pictures_of(framing) * f->row;
    TRY(plif_framing_room(framing, f->cells));
    f->most = framing->T ? framing->T : INT64_MAX;
    f->of_x = malloc((size_t)width * sizeof *f->of_x);
    f->of_y = malloc((size_t)height * sizeof *f->of_y);
    if (!f->of_x || !f->of_y) {
        plif_framer_free(f);
        return plif_fail(PLIF_NO_MEMORY, "no memory for a sensor of %d x %d", width, height);
    }
    plif_view(framing, shape, width, height, upright, f->of_x, f->of_y, f->of_p);
    return plif_follow_init(&f->follow, framing, shape, width, height, upright, f->of_p);
}

void plif_framer_free(Framer *f) {
    plif_follow_free(&f->follow);
    free(f->of_x);
    free(f->of_y);
    f->of_x = f->of_y = NULL;
}
