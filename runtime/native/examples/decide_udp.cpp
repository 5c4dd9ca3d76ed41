// Decisions about events that come by UDP, as `plif send FILE udp://HOST:PORT?format=t64` sends them:
//
//     c++ -std=c++17 decide_udp.cpp -o decide_udp $(pkg-config --cflags --libs plif)
//     ./decide_udp digits.plif 3333 34 34
//
// An event is 13 bytes, little-endian: t (us) 8, x 2, y 2, polarity 1. Ends when, after the first events, nothing came for two seconds.
#include <arpa/inet.h>
#include <plif.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <vector>

using Model = std::unique_ptr<plif_model, decltype(&plif_close)>;
using Session = std::unique_ptr<plif_session, decltype(&plif_session_free)>;

static int failed(const char *what) {
    std::cerr << what << ": " << plif_error_text() << "\n";
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 5) return std::cerr << "usage: decide_udp MODEL.plif PORT WIDTH HEIGHT\n", 2;
    Model model(plif_open(argv[1], 0), plif_close);
    if (!model) return failed(argv[1]);
    plif_options options = PLIF_OPTIONS;
    options.sensor_width = std::atoi(argv[3]);
    options.sensor_height = std::atoi(argv[4]);
    options.framing = "duration:20ms";
    options.decide = "leak:120ms";
    options.reset = "silence:1000";
    Session session(plif_session_new(model.get(), &options), plif_session_free);
    if (!session) return failed(argv[1]);

    const int port = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[2])));
    const timeval patience{2, 0};
    if (bind(port, reinterpret_cast<sockaddr *>(&address), sizeof address)) return std::perror("bind"), 1;
    std::cerr << "listening" << std::endl;

    std::vector<unsigned char> datagram(65536);
    std::vector<int64_t> t;
    std::vector<uint16_t> x, y;
    std::vector<uint8_t> p;
    for (ssize_t bytes; (bytes = recv(port, datagram.data(), datagram.size(), 0)) > 0;) {
        setsockopt(port, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        const size_t count = static_cast<size_t>(bytes) / 13;
        t.resize(count), x.resize(count), y.resize(count), p.resize(count);
        for (size_t i = 0; i < count; i++) {
            const unsigned char *event = datagram.data() + 13 * i;
            std::memcpy(&t[i], event, 8);
            std::memcpy(&x[i], event + 8, 2);
            std::memcpy(&y[i], event + 10, 2);
            p[i] = event[12];
        }
        for (size_t used = 0, took = 0; used < count; used += took) {
            plif_decision d = PLIF_DECISION;
            const int got = plif_feed(session.get(), &t[used], &x[used], &y[used], &p[used], count - used, &took, &d);
            if (got < 0) return failed("events");
            if (got == PLIF_DECIDED && d.index >= 0)
                std::cout << d.t_us << " us  " << plif_class_name(model.get(), d.index) << "  " << d.score << std::endl;
        }
    }
}
