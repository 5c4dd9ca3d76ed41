/* libplif: spiking networks in C. Opens a .plif file (plif export model.pt --to plif) and turns events into
 * decisions.
 *
 *     plif_model *model = plif_open("gesture.plif", 0);
 *     plif_options options = PLIF_OPTIONS;
 *     options.sensor_width = options.sensor_height = 128;
 *     plif_session *session = model ? plif_session_new(model, &options) : NULL;
 *     if (!session) { fprintf(stderr, "%s\n", plif_error_text()); return 1; }
 *     for (;;) {
 *         n = read_my_camera(t, x, y, p);                          // arrays of n events, t in microseconds
 *         for (size_t used = 0, took; used < n; used += took) {    // one decision for each complete frame
 *             plif_decision d = PLIF_DECISION;
 *             int got = plif_feed(session, t + used, x + used, y + used, p + used, n - used, &took, &d);
 *             if (got < 0) { fprintf(stderr, "%s\n", plif_error_text()); return 1; }
 *             if (got == PLIF_DECIDED && d.index >= 0) printf("%s\n", plif_class_name(model, d.index));
 *         }
 *     }
 *     plif_session_free(session);
 *     plif_close(model);
 *
 * A *model* is a file that was opened: weights and operations, read-only. A *session* is the state of one stream of
 * events: membranes, the open frame, evidence. Many sessions can share one model.
 *
 * Threads. A model may be used by any number of threads at once. A session is for one thread at a time. Close a
 * model when its sessions are freed. The text of an error is kept for each thread.
 *
 * Errors. Functions that give a pointer give NULL, others a code below zero; plif_error_text then says what was
 * wrong, in one line. A call that failed has changed nothing, unless it says otherwise. The library never exits,
 * prints, or installs a handler. It needs nothing but the C library, its mathematics and threads.
 *
 * ABI. Structures that callers see only grow, and say their own size (begin with PLIF_OPTIONS, PLIF_DECISION,
 * PLIF_ACCOUNT): no more than that is read and written. PLIF_ABI rises when that cannot be kept, and with it the
 * soname. Answers are the same bits on every processor of one architecture, with any number of threads, as those of
 * `plif stream`.
 */
#ifndef PLIF_H
#define PLIF_H

/* clang-format off: this page is set by hand */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PLIF_API __attribute__((visibility("default")))
#else
#define PLIF_API
#endif

#define PLIF_ABI 1

typedef struct plif_model plif_model;
typedef struct plif_session plif_session;

enum plif_code {
    PLIF_OK = 0,
    PLIF_DECIDED = 1,        /* there is a decision, and there may be more: call again */
    PLIF_FRAMED = 2,         /* there is a frame, and there may be more: call again */
    PLIF_NO_FILE = -1,       /* cannot be opened or read */
    PLIF_BAD_FILE = -2,      /* no .plif file, or it was damaged */
    PLIF_OTHER_VERSION = -3, /* of another version of .plif files: export it again */
    PLIF_NO_MEMORY = -4,     /* there is none, or more would be needed than a session may take: see plif_session_new */
    PLIF_BAD_ARGUMENT = -5,
    PLIF_UNSUPPORTED = -6 /* understood, and not in this library: the text says what */
};

PLIF_API int plif_abi_version(void);        /* PLIF_ABI of the library; compare it with that of the header */
PLIF_API const char *plif_error_text(void); /* of the last call in this thread that failed; never NULL */
PLIF_API int plif_error_code(void); /* of the last call in this thread that could fail: PLIF_OK where it did not */

/* --- models --- */

enum plif_flag {
    /* do not look whether the file is as it was written. Memory stays safe; answers may be wrong */
    PLIF_SKIP_DIGEST = 1,
    /* membranes below 1e-38 are kept; else they become zero, as in `plif stream` (not in WebAssembly), unless the
     * network would give other spikes then, which its file says */
    PLIF_KEEP_SUBNORMALS = 2
};

/* Maps a file into memory and checks it. The file must not be changed in place while it is open; replacing it is fine.
 * The environment variable PLIF_CPU (scalar, avx2, avx512, amx, neon) chooses kernels; without it, or where it is
 * empty, the fastest are taken. */
PLIF_API plif_model *plif_open(const char *path, unsigned flags);

/* The same of bytes in memory, which must stay as they are until plif_close. Where `data` is no multiple of 64,
 * they are copied. */
PLIF_API plif_model *plif_open_buffer(const void *data, size_t bytes, unsigned flags);
PLIF_API void plif_close(plif_model *model); /* NULL is fine */

PLIF_API int plif_classes(const plif_model *model);                       /* how many */
PLIF_API const char *plif_class_name(const plif_model *model, int index); /* NULL past the last one */
PLIF_API void plif_input_shape(const plif_model *model, int shape[3]);    /* channels, height, width of x */
PLIF_API const char *plif_framing(const plif_model *model);               /* how events become frames; "" for none */
/* y is a multiple of 1 / voters; 1 where the network does not vote */
PLIF_API int plif_voters(const plif_model *model);
PLIF_API int plif_T(const plif_model *model);                           /* time-steps of a sample in training */
PLIF_API const char *plif_card(const plif_model *model, size_t *bytes); /* the whole card, JSON; not ended by a zero */
PLIF_API const char *plif_cpu(const plif_model *model);                 /* the kernels that were chosen */

/* --- sessions --- */

typedef struct plif_options {
    size_t size; /* sizeof(plif_options) */
    /* as in `plif stream --framing`, and resize=auto, as without a word, is resolved for the model; NULL: the file's, in
     * which no word is sum */
    const char *framing;
    /* as in `plif stream --decide`: sum, leak:120ms,margin=0.2, kofn:3/5, own, ...; NULL: of a feed (total_events -1)
     * the file's rule where it has one (plif eval --calibrate-decide), else sum; of a recording sum, which ends early
     * where the file says so (plif eval --calibrate-exit) */
    const char *decide;
    const char *reset; /* as in `plif stream --reset`: never, every:T[/K], silence:MS, decay:TAU; NULL: never */
    int sensor_width, sensor_height; /* of the events; 0: as large as the network's input */
    /* for orientation=upright, how a stored picture becomes upright: 0 it is, 1 turned by 180 degrees, 2 mirrored top
     * to bottom, 3 turned by 90 degrees clockwise, 4 by 270. People's heads are at its top, bottom, bottom, left, right */
    int upright;
    int threads;               /* that share a step; 1 is right for small networks, and beside other work */
    int64_t total_events;      /* of the recording, which only the framings count: and time: need */
    int64_t first_us, last_us; /* times of its first event and its last, which time: needs */
    /* as in `plif stream --filter`: hot,refractory:1ms,roi:square, ...; NULL: none. The recording's events and
     * times are then those of the events that pass */
    const char *filter;
} plif_options;

#define PLIF_OPTIONS {sizeof(plif_options), NULL, NULL, NULL, 0, 0, 0, 1, -1, 0, 0, NULL}

/* A session that would need over 4 GiB (its rows, frames that overlap, a step; 1 GiB where pointers have 32 bits)
 * is refused before any of it is allocated. options NULL: the defaults. */
PLIF_API plif_session *plif_session_new(const plif_model *model, const plif_options *options);
PLIF_API void plif_session_free(plif_session *session); /* NULL is fine */

/* --- frames --- */

/* One time-step of the network: x float [channels][height][width] -> y float [classes]. Frames and decisions stay
 * as they are. With every:T/K it is the first of the K rows that makes it. An x that is not finite is refused
 * (PLIF_BAD_ARGUMENT), and membranes stay as they are: they would be lost. plif_frame does the same. */
PLIF_API int plif_step(plif_session *session, const float *x, float *y);

/* --- events, and what they lead to --- */

enum { PLIF_NOT_SURE = -1, PLIF_IDLE = -2 };

typedef struct plif_decision {
    size_t size;           /* sizeof(plif_decision) */
    int64_t t_us;          /* end of the frame, in the events' time */
    int64_t step;          /* from 0 */
    int64_t events;        /* in the frame */
    int32_t index;         /* the class, or PLIF_NOT_SURE, or PLIF_IDLE */
    int32_t discontinuity; /* a gap in time came before the frame */
    double score;          /* the winner's share of all possible spikes, 0..1 */
    const double *votes;   /* [classes] spikes since the reset; valid until the next call on this session */
    int64_t is_final;      /* an early exit (exit=): the answer stays until the next reset */
    /* whose answer it is: with every:T/K that of the row that has seen most; with follow=on 1 where the view that
     * follows gave the class more votes in this step than the whole picture did */
    int64_t row;
    int64_t soft; /* the class that leads now, at once and by less: index is the firm answer. Else as index */
} plif_decision;

#define PLIF_DECISION {sizeof(plif_decision), 0, 0, 0, 0, 0, 0, NULL, 0, 0, 0}

/* Takes events until a frame is complete and was stepped (PLIF_DECIDED), or all are taken (PLIF_OK). `took` says
 * how many; call again with the others. Polarity p is ON where it is not 0. Events must come in the order in which
 * they happened, as far as the source can: late ones are counted and not used. */
PLIF_API int plif_feed(plif_session *session, const int64_t *t_us, const uint16_t *x, const uint16_t *y,
                       const uint8_t *p, size_t count, size_t *took, plif_decision *decision);

/* It is t_us now, and no event came since: gives the frames that have ended, as plif_feed does, one a call. */
PLIF_API int plif_tick(plif_session *session, int64_t t_us, plif_decision *decision);

/* The recording has ended: gives the frames that are still due, one a call. Then only plif_reset can follow. */
PLIF_API int plif_finish(plif_session *session, plif_decision *decision);

/* A frame of one's own, x float [channels][height][width] with the time that it covers, to a decision: PLIF_DECIDED. */
PLIF_API int plif_frame(plif_session *session, const float *x, int64_t start_us, int64_t end_us, int64_t events,
                        plif_decision *decision);

/* Where the events went: used + filtered + late + invalid are all that came, but for those that wait in the open
 * frame. not_shown: of the filtered, those whose pixel the framing does not show (resize=nearest or crop, shape=square). */
typedef struct plif_account {
    size_t size; /* sizeof(plif_account) */
    int64_t events_in, used, filtered, late, invalid, not_shown;
} plif_account;

#define PLIF_ACCOUNT {sizeof(plif_account), 0, 0, 0, 0, 0, 0}

PLIF_API int plif_account_of(const plif_session *session, plif_account *account);

/* --- state --- */

PLIF_API void plif_reset(plif_session *session); /* to where it began: membranes, frames, evidence, the account */
PLIF_API void plif_reset_network(plif_session *session); /* membranes and evidence only */

/* The whole state as bytes, for a session with the same options on the same file, in this process or another. */
PLIF_API size_t plif_snapshot_size(const plif_session *session);
PLIF_API int plif_snapshot(const plif_session *session, void *bytes, size_t size);
PLIF_API int plif_restore(plif_session *session, const void *bytes, size_t size);

/* The membranes of one layer, or what else its neurons keep (of the first row), as they lie in memory: [height][width]
 * [lanes], the first `channels` of the lanes. A state is called <variable>.<layer>: v.conv1 is the membrane. Ask again
 * after each step: until then some of what a step does to them may wait. */
PLIF_API int plif_states(const plif_model *model);
PLIF_API const char *plif_state_name(const plif_model *model, int state); /* NULL past the last one */
PLIF_API const float *plif_membranes(const plif_session *session, int state, int shape[3], int *lanes);

/* The frame of the last decision, float [channels][height][width] (with follow=on the second one behind it), and the
 * share of neurons of each state that fired in the last step (with every:T/K: in the last row), [states]; zeros at
 * first, and where a state is no membrane of neurons that fire. Valid until the session is freed; NULL of a session
 * without a network. Rates are counted from the first call on: that takes a step up to 5 % longer. */
PLIF_API const float *plif_frame_seen(const plif_session *session);
PLIF_API const float *plif_firing_rates(plif_session *session);

/* --- a network that runs elsewhere --- */

/* The rules without a network: whatever makes the steps (ONNX Runtime, TensorRT, a GPU) gets the same frames from
 * the same events, and the same decisions from the same y. A session of this kind has no membranes. */
typedef struct plif_network {
    size_t size; /* sizeof(plif_network) */
    /* voters of a class: y is a multiple of 1 / voters; 1 where it does not vote. T: steps of a sample */
    int classes, voters, T;
    const char *const *class_names; /* [classes]; read during the call. classes 0: the session decides nothing */
    int channels, height, width;    /* of x; 0: the session makes no frames */
} plif_network;

PLIF_API plif_session *plif_session_for(const plif_network *network, const plif_options *options); /* threads 1 */
PLIF_API int plif_rows(const plif_session *session); /* of the network: 2 with follow=on, K of every:T/K, else 1 */
/* the first that means none of the others; -1 where none does */
PLIF_API int plif_other_class(const char *const *class_names, int classes);

/* Events as they lie, 13 bytes each: int64 t in microseconds, uint16 x, uint16 y, uint8 p, nothing between them. */
typedef struct plif_packet {
    size_t size; /* sizeof(plif_packet) */
    const void *events;
    size_t count, taken; /* taken: 0 at first; of how many it is known where they belong */
    /* [count] 0 for those that a filter of one's own took away: time goes on with them. NULL: all pass */
    const uint8_t *passed;
    double came_s; /* when they came, by any clock */
} plif_packet;

typedef struct plif_input {
    size_t size;   /* sizeof(plif_input) */
    float *x;      /* [channels][height][width], twice with follow=on; whoever wants a frame says where it goes */
    float *newest; /* as large; where frames overlap: what the one before does not show. NULL: not wanted */
    int64_t start_us, end_us, events;
    int flags;     /* PLIF_GAP, PLIF_AFRESH, PLIF_FOLLOWED */
    double came_s; /* when the last of its events came */
    /* of follow=on: the part of the picture that the second one shows: left, top, width and height of 1; else zeros */
    double window[4];
} plif_input;

#define PLIF_PACKET {sizeof(plif_packet), NULL, 0, 0, NULL, 0}
#define PLIF_INPUT {sizeof(plif_input), NULL, NULL, 0, 0, 0, 0, 0, {0, 0, 0, 0}}

/* As plif_feed, plif_tick and plif_finish: PLIF_FRAMED and a frame, or PLIF_OK. Its events are then used, in this
 * session's account. */
PLIF_API int plif_frame_events(plif_session *session, plif_packet *packet, plif_input *frame);
PLIF_API int plif_frame_tick(plif_session *session, int64_t t_us, plif_input *frame);
PLIF_API int plif_frame_finish(plif_session *session, plif_input *frame);
/* The camera was lost and came back: gives the open frame, where there is one. The next one begins where the next
 * event is, and says flags (PLIF_GAP, and PLIF_AFRESH where membranes are to begin anew). */
PLIF_API int plif_frame_restart(plif_session *session, int flags, plif_input *frame);

typedef struct plif_time {
    size_t size;                 /* sizeof(plif_time) */
    int64_t clock_us, open_us;   /* the latest time so far; where the open frame begins */
    int64_t waiting;             /* events in the open frame */
    int64_t gaps;                /* so far */
    int follows_clock, is_known; /* frames end as time goes on; there is a time */
} plif_time;

#define PLIF_TIME {sizeof(plif_time), 0, 0, 0, 0, 0, 0}

PLIF_API int plif_time_of(const plif_session *session, plif_time *time);
/* Events come again after ticks, the first at t_us: what was delayed on its way is not late because of ticks.
 * Whether t_us lies before the open frame all the same. */
PLIF_API int plif_resume(plif_session *session, int64_t t_us);
/* 1: `text`, of so many bytes, is note `number`, from 0 on, of what the filters have found (hot pixels). 0: there
 * is none of that number. */
PLIF_API int plif_filter_note(const plif_session *session, int number, char *text, size_t bytes);
/* Two frames one after the other become one, of more time: counts add up. For a network that does not keep up. */
PLIF_API int plif_join(const plif_session *session, plif_input *newer, const plif_input *older);

enum {
    PLIF_GAP = 1,     /* time or events are missing before the frame; a gap of more than a second is one in any case */
    PLIF_AFRESH = 2,  /* membranes and evidence start afresh with the frame, whatever the policy says */
    PLIF_LOST = 4,    /* nothing is known of the scene: no answer */
    PLIF_FOLLOWED = 8 /* with follow=on: the votes of the second row count, class by class the greater of both */
};

/* A frame is to be stepped. keep [rows]: what the membranes of each row are to be multiplied by before, around
 * their initial values: 1 leaves them as they are, 0 begins afresh. Gives PLIF_GAP where there is one, else
 * PLIF_OK. */
PLIF_API int plif_before(plif_session *session, int64_t start_us, int64_t end_us, int64_t events, int flags,
                         double *keep);
/* It was stepped: y [rows][classes] to a decision: PLIF_DECIDED. */
PLIF_API int plif_after(plif_session *session, const float *y, plif_decision *decision);

/* --- recordings --- */

/* Prophesee EVT 2.0, 2.1 and 3.0 (.raw) and DAT, AEDAT 2.0 of a DVS128 and AEDAT 3.1, and 5-byte events as N-MNIST
 * (.bin) and DVS128 Gesture clips (.bs2) have them; a program may read any other format itself. The size of the
 * sensor is 0 where the file does not say it. */
typedef struct plif_recording plif_recording;
PLIF_API plif_recording *plif_recording_open(const char *path);
/* The same of bytes in memory, which must stay as they are until plif_recording_close. name: with the suffix that
 * the file would have. */
PLIF_API plif_recording *plif_recording_open_buffer(const void *data, size_t bytes, const char *name);
PLIF_API void plif_recording_close(plif_recording *recording);
PLIF_API void plif_recording_size(const plif_recording *recording, int *width, int *height);
/* Fills in what a session has to know of a recording before its first event: the sensor (the file's, else the
 * smallest usual one that holds its events), how it stands, and what framings of a whole need. Reads the recording
 * through, and goes back to its beginning. */
PLIF_API int plif_recording_describe(plif_recording *recording, plif_options *options);
/* The next events, at most `room`; 0 at the end. */
PLIF_API int64_t plif_recording_read(plif_recording *recording, int64_t *t_us, uint16_t *x, uint16_t *y, uint8_t *p,
                                     size_t room);

#ifdef __cplusplus
}
#endif

#endif
