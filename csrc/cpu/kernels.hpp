// The row-range kernels of the CPU backend: plain structs and a function table, one table per
// instruction-set level. Included by kernel files, so no STL here.
#pragma once
#include "core/types.hpp"
#include "sparse/line_view.hpp"

namespace ot::cpu {

inline constexpr index kRows = 4;      // rows that share one load and store of a column accumulator
inline constexpr index kMaxRows = 16;  // rows of a block of high-dimensional points
inline constexpr index kTile = 480;    // columns of cost computed at once: whole panels
inline constexpr index kPanel = 192;   // bytes of a coordinate in a panel of y: 3 vectors of 64 bytes
inline constexpr index kAhead = 4096;  // bytes of C prefetched ahead of the exponentials
inline constexpr index kPad = 48;      // elements readable beyond the end of yy

// Plan entries kept by a pass: one region per chunk, rows delimited by begin and end.
struct KeptView {
  double threshold;   // e_ij > threshold * sum_j e_ij with an update, a_i e_ij > threshold without
  index first;        // first row of the chunk
  std::int32_t* idx;  // the region of this chunk
  double* val;        // a_i e_ij / s_i
  index base;         // offset of the region in the whole storage
  index capacity;     // of the region
  index* begin;       // (n)
  index* end;         // (n)
};

// Sparse rows: entries [begin_i, end_i).
struct Entries {
  const std::int32_t* idx;
  const double* val;
  const index* begin;
  const index* end;
};

// e_ij = exp(phi_i + h_j - (C_ij - shift)/reg), row by row.
struct PassArgs {
  Geometry geo;
  double inv_reg;
  const double* h;         // (m) g_j/reg + log b_j
  double* phi;             // (n) f_i/reg; NaN where unknown
  const double* a;         // (n)
  bool update;             // phi_i = damp (phi_i - log s_i); columns are then those of the updated plan
  double* row = nullptr;   // (n) s_i = sum_j e_ij, before the update
  double* col = nullptr;   // (m) += a_i e_ij (after the update)
  double* cost = nullptr;  // (n) sum_j e_ij (C_ij - shift), not with update
  KeptView* kept = nullptr;
  double damp = 1;
  double* gradient = nullptr;  // (n, d) a_i sum_j e_ij dc(x_i, y_j)/dx_i (after the update)
  void* work;                  // work_bytes(m)
};

struct ApplyArgs {
  PassArgs pass;
  const double* V;  // axis 1: (k, m); axis 0: (k, n)
  double* out;      // axis 1: (k, n); axis 0: (k, m), added to
  index k;
  bool columns;  // axis 0
};

// s_i = sum_j K_ij q_j, u_i = target_i / s_i, col_j += a_i u_i K_ij: one read of K.
struct KernelArgs {
  const void* K;  // (n, m), row stride ld: whole lines, zero beyond m
  index m, ld;
  const void* q;         // (m) in the arithmetic of the pass, zero beyond m
  const double* target;  // (n); null: u is read, not written
  const double* a;       // (n)
  double* u;             // (n)
  double* row;           // (n) a_i u_i s_i (nullable)
  double* col;           // (m)
};

struct MinArgs {
  Geometry geo;
  const double* g;       // (m); null: row is given
  double* row;           // (n) min_j C_ij - shift - g_j
  double* col;           // (m) min with min_i C_ij - shift - row_i (nullable)
  const double* weight;  // (n) rows of zero weight take no part in col (nullable)
  void* work;
};

// Entries with f_i + g_j - (C_ij - shift) > -margin go to kept, with C_ij - shift as their value.
struct SlackArgs {
  Geometry geo;
  const double* f;  // (n)
  const double* g;  // (m)
  double margin;
  KeptView* kept;
  void* work;
};

struct Kernels {
  const char* name = nullptr;
  void (*pass[2][2])(const PassArgs&, index i0, index i1);  // [dtype of C][precision]
  void (*apply[2])(const ApplyArgs&, index i0, index i1);
  void (*plan[2][2])(const PassArgs&, void* out, index ld, const double* scale, index i0, index i1);
  void (*kernel_pass[2][2])(const KernelArgs&, index i0, index i1);  // [storage][arithmetic]
  void (*c_transform[2])(const MinArgs&, index i0, index i1);
  void (*cost_apply[2])(const Geometry&, const double* w, double* out, void* work, index i0, index i1);
  void (*cost_rows[2])(const Geometry&, void* out, index ld, index i0, index i1);
  void (*stats[2])(const Geometry&, index i0, index i1, CostStats&);
  void (*slack[2])(const SlackArgs&, index i0, index i1);
  void (*lines)(const LineView&, double* sums, index j0, index j1);
  void (*line_step)(const LineSystem&);
  void (*line_entries)(const LineView&, index j0, index j1);
  void (*kept_product[2])(const Entries&, const double* x, double* out, index i0, index i1);  // [squared]
  void (*exp)(const double* x, double* out, index n);
  void (*log)(const double* x, double* out, index n);  // of max(x, 2^-1022)
  void (*dots)(const double* w, const double* v, const double* const* d, int count, index n, double* out);
  void (*combine)(const double* x, const double* c, const double* const* d, int count, index n, double* out);
  void (*add_rows)(const double* rows, index count, index stride, index j0, index j1, double* out);
  double (*exp_rate[2])(index reps, double* sink);  // evaluates 1024 * reps exponentials
  double (*fma_rate[2])(index reps, double* sink);  // 1024 * reps fused multiply-adds
  double (*read)(const double* x, index n);
};

static constexpr index round_up(index n, index k) { return (n + k - 1) / k * k; }
// Rows of a block lie an odd number of half lines apart modulo 4096: no store-to-load aliasing.
static constexpr index row_stride(index m) { return round_up(m, 512) + 40; }
// Rows whose exponentials are kept until their sums are known. High-dimensional points want many, so
// that a panel of y is read from L2 once for all of them; otherwise few, so that they stay in L1.
static constexpr index block_rows(const Geometry& g) {
  return g.kind == Kind::points && g.d >= 16 && g.m <= 16384 ? kMaxRows : kRows;
}
// The row buffers of a block in doubles, then its tile of costs.
static constexpr std::size_t work_bytes(const Geometry& g) {
  return static_cast<std::size_t>(block_rows(g) * (row_stride(g.m) + kTile) * 8);
}

}  // namespace ot::cpu
