// The seam of the solvers whose plans are sparse: one pass over C brings the few entries that can
// matter to the host; everything else happens on those.
#pragma once
#include <concepts>

#include "core/backend.hpp"
#include "core/buffer.hpp"

namespace ot {

// Entries with f_i + g_j - (C_ij - shift) > -margin, by rows of C, with their costs C_ij - shift, on the host.
struct Candidates {
  Buffer<index> begin;  // (n + 1)
  Buffer<std::int32_t> idx;
  Buffer<double> cost;
  index nnz = 0;
  bool overflow = false;  // more than the limit: nothing is stored, nnz is their number
};

template <class B>
concept SlackBackend = Backend<B> && requires(B be, const Geometry& geo, const double* in, double* out, Candidates& to,
                                              double x, index n) {
  // f = -inf or g = -inf leaves a row or a column out.
  { be.candidates(geo, in, in, x, n, to) };
  // row_i = sum_j b_j C_ij and col_j = sum_i a_i C_ij, less the shift, over finite costs.
  { be.cost_sums(geo, in, in, out, out) };
};

}  // namespace ot
