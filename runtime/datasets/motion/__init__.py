"""Motion capture in front of the simulated camera: from files to joints, from joints to images, from images to events.

    from runtime.datasets.motion.joints import read_motions
    from runtime.datasets.motion.people import MotionClip, MotionPainter, MotionSequence, Viewpoint
    from runtime.datasets.performers.performance import record_scene
    from runtime.datasets.performers.performer import draw_performer

    sequence = MotionSequence([MotionClip(read_motions("walk.bvh")[0])])     # joints [T, 21, 3] at any times
    performer = draw_performer((7,))                                         # looks, place and camera
    painter = MotionPainter(performer, sequence, Viewpoint(yaw_deg=30))
    pieces = record_scene(performer, painter.paint, 0, round(sequence.seconds * 1e6), (7,))    # events of 20 ms each
    x = frames_of(np.concatenate(list(pieces)), framing, (2, 128, 128), (128, 128), "identity")     # float32 [T, 2, 128, 128]

runtime.datasets.motion.simulate_motion makes whole recordings of non-gesture motion, actor by actor, for training and tests.
"""
