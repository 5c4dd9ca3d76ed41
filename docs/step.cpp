// Streams frames through an exported step artifact with ONNX Runtime's C++ API, without Python.
//
//   g++ -O2 -std=c++17 step.cpp -I/usr/include/onnxruntime -lonnxruntime -o step
//   ./step model.onnx frames.f32      frames.f32: float32 [T, C, H, W], one frame after the other
//
// Prints the outputs of each step. To reset, fill the membranes that the next step reads with their initial value again.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

using Shape = std::vector<int64_t>;

static Shape shape_of(const Ort::TypeInfo& info) {
    Shape shape = info.GetTensorTypeAndShapeInfo().GetShape();
    if (shape[0] < 0) shape[0] = 1;  // the batch axis is dynamic: one stream here
    return shape;
}

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: step model.onnx frames.f32\n"), 2;
    Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "plif");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    // silence must not be slow; leave it out where the card says "flush_denormals": false
    options.AddConfigEntry("session.set_denormal_as_zero", "1");
    Ort::Session session(env, argv[1], options);
    Ort::AllocatorWithDefaultOptions allocator;
    const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);

    // Inputs are x, v.<layer>, ...; outputs are y, v.<layer>.next, ... in the same order. Two sets of buffers per state:
    // a step reads v[phase] and writes v[1 - phase] (ping-pong). Initial values stand in the card; 0 unless v_reset is not.
    const size_t tensors = session.GetInputCount();
    std::vector<std::string> inputs, outputs;
    std::vector<std::vector<float>> in(tensors), v[2] = {in, in};
    auto metadata = session.GetModelMetadata().LookupCustomMetadataMapAllocated("plif.initial", allocator);
    std::istringstream initial(metadata ? metadata.get() : "");
    for (size_t i = 0; i < tensors; ++i) {
        inputs.emplace_back(session.GetInputNameAllocated(i, allocator).get());
        outputs.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
        Shape si = shape_of(session.GetInputTypeInfo(i)), so = shape_of(session.GetOutputTypeInfo(i));
        size_t ni = 1, no = 1;
        for (int64_t d : si) ni *= d;
        for (int64_t d : so) no *= d;
        float start = 0.0f;
        if (i) initial >> start;
        v[0][i] = v[1][i] = std::vector<float>(i ? ni : no, start);  // slot 0 holds y
        in[i].resize(i ? 0 : ni);                                    // slot 0 holds x
    }
    Ort::IoBinding binding[2] = {Ort::IoBinding(session), Ort::IoBinding(session)};
    for (int phase = 0; phase < 2; ++phase)
        for (size_t i = 0; i < tensors; ++i) {
            auto& source = i ? v[phase][i] : in[0];
            auto& target = i ? v[1 - phase][i] : v[0][0];
            Shape si = shape_of(session.GetInputTypeInfo(i)), so = shape_of(session.GetOutputTypeInfo(i));
            binding[phase].BindInput(inputs[i].c_str(),
                Ort::Value::CreateTensor<float>(memory, source.data(), source.size(), si.data(), si.size()));
            binding[phase].BindOutput(outputs[i].c_str(),
                Ort::Value::CreateTensor<float>(memory, target.data(), target.size(), so.data(), so.size()));
        }

    std::FILE* frames = std::fopen(argv[2], "rb");
    if (!frames) return std::fprintf(stderr, "%s: cannot be read\n", argv[2]), 2;
    for (int t = 0; std::fread(in[0].data(), sizeof(float), in[0].size(), frames) == in[0].size(); ++t) {
        session.Run(Ort::RunOptions{nullptr}, binding[t % 2]);
        for (float y : v[0][0]) std::printf("%.9g ", y);
        std::printf("\n");
    }
    std::fclose(frames);
}
