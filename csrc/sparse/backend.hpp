// What the solvers of sparse plans need of a backend beside the entropic operations. One pass over C brings the
// entries that can matter to the host (`Pricing`); everything else happens on those, on the host. All vectors of
// these operations are the host's; `read` and `write` copy between the host and the backend.
#pragma once
#include <concepts>

#include "core/backend.hpp"
#include "sparse/line_view.hpp"

namespace ot {

template <class B>
concept LineOperations = requires(B be, const LineView& view, const LineSystem& system, double* sums) {
  // beta, theta and the support of all lines at alpha; sums_i = the sum of t over the entries of other i.
  { be.lines(view, sums) };
  // t of all entries, at alpha, beta and theta.
  { be.line_entries(view) };
  // system.step, by conjugate gradients.
  { be.line_step(system) };
};

template <class B>
concept SparseBackend = Backend<B> && Pricing<B> && LineOperations<B>;

}  // namespace ot
