// What an assignment needs of a backend: scans of rows of costs that are stored on the host.
#pragma once
#include "core/types.hpp"

namespace ot {

template <class B>
concept RowScans =
    requires(B be, const Geometry& geo, index i, const double* v, const RowStep& step, double* least, index* at) {
      // The two least of C_ij - v_j of row i.
      { be.row_minima(geo, i, v) };
      // Distances by way of row i, and the nearest column.
      { be.relax_row(geo, i, step) };
      // The least cost of every column, and its row.
      { be.column_minima(geo, least, at) };
      // Throws Interrupted on Ctrl-C.
      { be.poll() };
    };

}  // namespace ot
