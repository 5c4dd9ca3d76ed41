/* What the Python bindings of TensorRT ask of its libraries when they are imported, doing nothing: enough to read their interface. */
#define NOTHING(name) void *name(void) { return 0; }
NOTHING(createInferBuilder_INTERNAL)
NOTHING(createInferRefitter_INTERNAL)
NOTHING(createInferRuntime_INTERNAL)
NOTHING(createNvOnnxParser_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL)
NOTHING(getBuilderPluginRegistry)
NOTHING(getPluginRegistry)
NOTHING(getNvOnnxParserVersion)
NOTHING(initLibNvInferPlugins)
