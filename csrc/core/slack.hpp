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
concept SlackBackend =
    Backend<B> && requires(B be, const Geometry& geo, const double* in, Candidates& to, double margin, index limit) {
      // f = -inf or g = -inf leaves a row or a column out.
      { be.candidates(geo, in, in, margin, limit, to) };
    };

}  // namespace ot
