"""The signatures of libplif's functions that Python calls: name -> result type, argument types."""

from __future__ import annotations

import ctypes as c

INT, UINT, I32, I64, U64, SIZE, DOUBLE = c.c_int, c.c_uint, c.c_int32, c.c_int64, c.c_uint64, c.c_size_t, c.c_double
P, TEXT = c.c_void_p, c.c_char_p  # any address; const char *

SIGNATURES: dict[str, tuple[object, ...]] = {
    # plif.h
    "plif_error_text": (TEXT,),
    "plif_error_code": (INT,),
    "plif_open": (P, TEXT, UINT),
    "plif_open_buffer": (P, P, SIZE, UINT),
    "plif_close": (None, P),
    "plif_classes": (INT, P),
    "plif_class_name": (TEXT, P, INT),
    "plif_cpu": (TEXT, P),
    "plif_states": (INT, P),
    "plif_state_name": (TEXT, P, INT),
    "plif_session_new": (P, P, P),
    "plif_session_free": (None, P),
    "plif_step": (INT, P, P, P),
    "plif_feed": (INT, P, P, P, P, P, SIZE, P, P),
    "plif_tick": (INT, P, I64, P),
    "plif_finish": (INT, P, P),
    "plif_frame": (INT, P, P, I64, I64, I64, P),
    "plif_account_of": (INT, P, P),
    "plif_reset": (None, P),
    "plif_reset_network": (None, P),
    "plif_snapshot_size": (SIZE, P),
    "plif_snapshot": (INT, P, P, SIZE),
    "plif_restore": (INT, P, P, SIZE),
    "plif_membranes": (P, P, INT, P, P),
    "plif_session_for": (P, P, P),
    "plif_rows": (INT, P),
    "plif_other_class": (INT, P, INT),
    "plif_before": (INT, P, I64, I64, I64, INT, P),
    "plif_after": (INT, P, P, P),
    "plif_frame_events": (INT, P, P, P),
    "plif_frame_tick": (INT, P, I64, P),
    "plif_frame_finish": (INT, P, P),
    "plif_frame_restart": (INT, P, INT, P),
    "plif_time_of": (INT, P, P),
    "plif_resume": (INT, P, I64),
    "plif_filter_note": (INT, P, INT, P, SIZE),
    "plif_join": (INT, P, P, P),
    "plif_frame_seen": (P, P),
    "plif_firing_rates": (P, P),
    "plif_recording_open": (P, TEXT),
    "plif_recording_open_buffer": (P, P, SIZE, TEXT),
    "plif_recording_close": (None, P),
    "plif_recording_describe": (INT, P, P),
    "plif_recording_read": (I64, P, P, P, P, P, SIZE),
    # engine/event.h
    "plif_program_check": (INT, P, P, I64),
    "plif_call_check": (INT, P, P, P, P, I64),
    "plif_paths": (INT, INT),
    "plif_room_check": (INT, P, I64, I64, P, I64),
    "plif_run": (None, P, P, P, P, P),
    "plif_settle": (None, P, P),
    "plif_first_not_finite": (I64, P, I64),
    "plif_flush": (U64, INT),
    "plif_unflush": (None, U64),
    "plif_pool_new": (P, INT),
    "plif_pool_free": (None, P),
    # engine/threads.c
    "plif_pools_new": (P, INT, INT),
    "plif_pools_free": (None, P),
    "plif_threads_new": (P, P, DOUBLE),
    "plif_threads_free": (None, P),
    "plif_threads_next": (INT, P),
    "plif_threads_took": (None, P, INT, I64),
    "plif_run_timed": (None, P, P, P, P, P),
    # session/frames.c
    "plif_frame_words": (INT, P, P, I64, P, P, DOUBLE, P),
    # session/stream.c
    "plif_say": (INT, P, I64, P, P, P),
    # session/file.h and model.c
    "plif_open_for": (P, P, I64, UINT, INT),
    "plif_model_program": (P, P),
    # rules/frames/framing.h and framing.c
    "plif_framing_room": (INT, P, I64),
    "plif_framing_parse": (INT, TEXT, P),
    "plif_framing_settle": (None, P, INT),
    "plif_time_us": (I64, TEXT),
    # rules/decisions/decide.h and decide.c
    "plif_decide_parse": (INT, TEXT, P),
    "plif_exit_lead": (DOUBLE, DOUBLE, INT, INT),
    "plif_leads": (None, P, I64, INT, P),
    "plif_answers": (None, P, I64, INT, P, DOUBLE, P),
    # rules/frames/filter.h
    "plif_filters_make": (INT, TEXT, INT, INT, P),
    "plif_filters_free": (None, P),
    "plif_filters_sensor": (None, P, P, P),
    "plif_filters_begin": (None, P),
    "plif_filters_apply": (I64, P, P, I64, P),
    "plif_filters_note": (INT, P, INT, P, SIZE),
    "plif_filters_bytes": (I64, P),
    "plif_filters_keep": (None, P, P),
    "plif_filters_restore": (INT, P, P),
    # rules/decisions/resetting.h
    "plif_reset_parse": (INT, TEXT, P),
    # rules/frames/view.c
    "plif_view_check": (INT, P, INT, INT, INT),
    "plif_view": (None, P, P, INT, INT, INT, P, P, P),
    # rules/frames/collect.h and collect.c
    "plif_collect": (I64, P, I64, P, P, P, I64, P, I64, P, P, P),
    "plif_all_usable": (INT, P, I64, I64, I64, I64),
    # formats/evt3.h and evt3_frames.c
    "plif_evt3_collect": (I64, P, I64, P, P, P, P, I64, P, I64, P, P),
    "plif_packets_layout": (INT,),
    # formats/formats.h and header.c
    "plif_looks_like": (INT, INT, P, I64),
    "plif_word_bytes": (I64, INT),
    "plif_decode_most": (I64, INT, P, I64),
    "plif_decode": (I64, INT, P, P, I64, P, I64, P),
    "plif_aedat31_packet": (INT, P, P),
    "plif_any_valid": (INT, P, I64),
    # formats/sample.c
    "plif_sample": (I64, TEXT, TEXT, P, I32, I32, P, I64, I64, P),
    # engine/event.c
    "plif_layout": (INT,),
    # engine/measure.c
    "plif_measure_form": (INT, INT, INT, P, P),
}
