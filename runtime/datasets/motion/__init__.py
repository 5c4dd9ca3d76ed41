"""Motion capture before the simulated camera: files become joints of people, people become pictures, pictures become events.

    from runtime.datasets.motion.joints import read_motions
    from runtime.datasets.motion.people import Course, MotionPainter, Stretch, Viewpoint
    from runtime.datasets.performers.performance import record_scene
    from runtime.datasets.performers.performer import draw_performer

    course = Course([Stretch(read_motions("walk.bvh")[0])])                 # joints [T, 21, 3] at any times
    performer = draw_performer((7,))                                     # looks, place and camera
    painter = MotionPainter(performer, course, Viewpoint(yaw_deg=30))
    pieces = record_scene(performer, painter.paint, 0, round(course.seconds * 1e6), (7,))     # events of 20 ms each
    x = frames_of(np.concatenate(list(pieces)), framing, (2, 128, 128), (128, 128), "identity")     # float32 [T, 2, 128, 128]

runtime.datasets.motion.simulate_motion has whole recordings of people who mean nothing, actor by actor, for training and tests.
"""
