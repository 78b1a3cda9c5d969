// The seam of the solvers whose plans are sparse: one pass over C brings the few entries that can
// matter to the host; everything else happens on those, on the host. Vectors of these operations are
// therefore the host's, unlike those of core/backend.hpp: `write` and `read` are the way between
// the two, and a pointer never stands for both.
#pragma once
#include <concepts>
#include <functional>

#include "core/backend.hpp"
#include "core/buffer.hpp"

namespace ot {

template <class B>
concept SlackBackend =
    Backend<B> && Pricing<B> && requires(B be, const LineView& lines, const LineSystem& system, double* out) {
      // beta and theta of all lines and their positive entries; out_i = sum of the entries of other i. Without
      // `out`: all entries, t, at the beta and theta given.
      { be.lines(lines, out) };
      { be.line_step(system) };  // by conjugate gradients, as far as it says
    };

// `lines` and `line_step`, of some backend.
struct LineKernels {
  std::function<void(const LineView&, double*)> lines;
  std::function<void(const LineSystem&)> step;
};

// For a backend that leaves them on the host: the CPU backend's (cpu/lines.cpp), by its default number
// of threads.
LineKernels lines_on_host();

}  // namespace ot
