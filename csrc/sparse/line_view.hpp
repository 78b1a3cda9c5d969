// What the kernels of sparse plans read and write: plain structs without the standard library, since kernel
// files include this one.
#pragma once
#include "core/types.hpp"

namespace ot {

// The dual of a sparse plan on candidate entries (sparse/line_dual.hpp). Entries lie line by line. The support of
// line j, its entries with t > 0, is in two parts: tied ones, t = (w - theta)/sigma, in [tied_begin_j,
// above_begin_j) of `support`, and those above the tie, t = w/(reg + sigma), in [above_begin_j, above_end_j).
struct LineView {
  static constexpr index kPad = 8;  // places behind each line in `support`, `support_t` and `slack`, for whole vectors

  index lines = 0, others = 0;
  index k = 0;  // entries a line, at most
  double reg = 0, sigma = 0;
  const index* begin = nullptr;       // (lines + 1) line j has the entries [begin_j, begin_{j+1})
  const std::int32_t* idx = nullptr;  // by entry: its other
  const double* cost = nullptr;       // by entry, less sigma times the proximal centre
  const double* b = nullptr;          // (lines) masses
  const double* alpha = nullptr;      // (others) potentials
  double* beta = nullptr;             // (lines) potentials; in: a guess
  double* theta = nullptr;            // (lines) ties; in: a guess
  double* t = nullptr;                // by entry: the plan, written by `line_entries` alone

  index* tied_begin = nullptr;      // (lines) out
  index* above_begin = nullptr;     // (lines) out
  index* above_end = nullptr;       // (lines) out
  std::int32_t* support = nullptr;  // (begin_lines + kPad lines) out: the others of the support
  double* support_t = nullptr;      // the same layout, out: t of the support
  double* slack = nullptr;          // scratch: alpha - cost of line j from begin_j + kPad j on
};

// H step = gradient, the system of a Newton step (sparse/line_system.hpp), laid out by slices of eight lines and
// of eight others: a slice has as many slots as the longest of its eight needs, and eight indices make a slot.
// With u and v the sums of x over the tied entries of a line and over those above the tie,
//   q_tied = tied_tied u + tied_above v,  q_above = tied_above u + above_above v,
//   (H x)_i = diagonal_i x_i - sum of q over the entries of i.
struct LineSystem {
  index line_slices = 0, other_slices = 0;
  const index* line_slots = nullptr;        // (2 line_slices + 1) of each slice: its tied slots, then those above
  const index* other_slots = nullptr;       // (other_slices + 1)
  const std::int32_t* line_idx = nullptr;   // others; 8 other_slices where a line has no entry
  const std::int32_t* other_idx = nullptr;  // places in q; 16 line_slices where an other has no entry
  const double* tied_tied = nullptr;        // (8 line_slices)
  const double* tied_above = nullptr;       // (8 line_slices)
  const double* above_above = nullptr;      // (8 line_slices)
  const double* diagonal = nullptr;         // (8 other_slices) of H without the part of the lines
  const double* inverse = nullptr;          // (8 other_slices) of the diagonal of H: the preconditioner
  const double* gradient = nullptr;         // (8 other_slices)
  double* step = nullptr;                   // (8 other_slices) out
  double* residual = nullptr;               // (8 other_slices) scratch
  double* direction = nullptr;              // (8 other_slices + 8) scratch, zero in its last eight
  double* product = nullptr;                // (8 other_slices) scratch
  double* q = nullptr;                      // (16 line_slices + 8) scratch, zero in its last eight; of each slice:
                                            // eight q_above, then eight q_tied
  double left = 0.1;                        // the residual may keep this part of the gradient's L1 norm
};

}  // namespace ot
