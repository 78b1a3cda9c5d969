// The CUDA backend: each operation of the seam as one or two kernels over C (kernels.hpp), in the
// caller's stream. Declarations only: bodies are compiled where a Device can launch them, by nvcc for
// a GPU (instantiate.cu), by the C++ compiler for the tests, whose device is the host.
//
// A Device has
//   Memory& memory();                          for buffers
//   launch(Shape, body);                       body(team) for every team, in order of the stream
//   int processors(), threads(), blocks();     multiprocessors; most threads of a block, and blocks of a team
//   int at_once(blocks);                       teams of so many blocks, of most threads, that run side by side
//   T* staging<T>(n);                          written by kernels, read here after wait()
//   upload(to, from, bytes), download(...);    download waits
//   wait(); look(); seconds(f);                for the device; for Ctrl-C; time of what f launches
//   scan(n, in, out);                          exclusive sums
//   sort(n, keys, entries, bound);             stable, by keys < bound
//   sort_descending(n, values);
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "algorithms/graph_factor.hpp"
#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "cuda/kernels.hpp"
#include "cuda/slack.hpp"
#include "cuda/vectors.hpp"
#include "sparse/backend.hpp"
#include "sparse/host_lines.hpp"

namespace ot::cuda {

// Points as the kernels want them, and their memory.
struct PackedPoints {
  Buffer<char> x, y, xx, yy;
};

template <class Device>
class BackendOn {
 public:
  explicit BackendOn(Device& device);

  struct Kernel {
    Buffer<char> data;
    Precision precision = Precision::f64;
    index n = 0, m = 0;
  };

  template <class T>
  Buffer<T> buffer(index n) {
    return Buffer<T>(n, device_.memory());
  }

  void pass(const Geometry& geo, const Pass& p);
  void pass(const Geometry& geo, const Pass& p, Kept& kept);

  void kept_apply(const Kept& T, index n, const double* x, double* out);
  void kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out);
  void kept_diagonal(const Kept& T, index n, index m, const double* w, double* out);
  // On the host, where the entries go once; y and what comes of it go there and back. An iteration takes tens of
  // microseconds, a factor one for every entry: it is for what diagonal scaling does not solve.
  static constexpr index kFactorPays = 450;
  bool kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns);
  void kept_solve(index n, index m, const double* y, double* out);
  double kept_largest(const Kept& T, index count);
  // The entries as one list: offset (n) of every row, column and value (nnz).
  void collect(const Kept& T, index n, index* offset, std::int32_t* column, double* val);

  void build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi, Precision precision,
                    Kernel& K);
  void kernel_pass(const Kernel& K, const KernelPass& p);

  void c_transform(const Geometry& geo, const double* g, double* row, const double* weight, double* col);
  void cost_apply(const Geometry& geo, const double* w, double* out);
  // out = P V for V (k, m), or P'V for V (k, n), both row-major; P is never stored.
  void apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns, double* out);
  // Rows [first, last) of the plan, in the precision of the pass.
  void plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld);
  void cost_rows(const Geometry& geo, void* out, index ld);
  // out_k = C_ij of pair k, from stored costs.
  void cost_of_pairs(const Geometry& geo, index count, const index* i, const index* j, double* out);

  void candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit, Candidates& to);
  // The lines are few, and where the solver reads them: the way to the device and back costs more than they do.
  void lines(const LineView& view, double* sums) { host_lines_.lines(view, sums); }
  void line_entries(const LineView& view) { host_lines_.line_entries(view); }
  void line_step(const LineSystem& system) { host_lines_.line_step(system); }
  void write(index n, const double* from, double* to) {
    device_.upload(to, from, n * static_cast<index>(sizeof(double)));
  }
  void read(index n, const double* from, double* to) {
    device_.download(to, from, n * static_cast<index>(sizeof(double)));
  }
  CostStats stats(const Geometry& geo);
  // Fills in x, yt, xx, yy of a geometry whose kind, cost, dtype, n, m, d are set.
  PackedPoints pack(Geometry& geo, const void* x, const void* y);

  template <class F>
  void for_each(index n, F f);
  void exp(index n, const double* x, double* out);
  void log(index n, const double* x, double* out);
  template <std::size_t N>
  void dots(index n, const double* w, const double* v, const std::array<const double*, N>& D, int count, double* out);
  template <std::size_t N>
  void combine(index n, const double* x, const double* c, const std::array<const double*, N>& D, int count,
               double* out);
  template <int N, class F>
  std::array<double, N> sums(index n, F f);

  // Limits of the device in 1e9 per second, best of several runs.
  double exp_rate(bool f64);
  double copy_rate();  // GB/s, read and written
  Device& device() { return device_; }

 private:
  struct Tiling;
  template <class Source, class At>
  void sweep(const Tiling& t, index n, index m, At at, const KeptOut* kept, double* col);
  template <class TE>
  void pass_in(const Geometry& geo, const Pass& p, const KeptOut* kept);
  void row_sums(const Geometry& geo, const Pass& p);
  void gradient(const Geometry& geo, const Pass& p);
  void append(const Geometry& geo, const Pass& p, const KeptOut& kept, index rows);
  void run_pass(const Geometry& geo, const Pass& p, const KeptOut* kept);
  template <class Fold, class Term>
  void fold_columns(const Term& term, index n, index m, double* out);
  template <class Fold, class Term>
  void fold_rows(const Term& term, index n, index m, double* out);
  void add_parts(index count, index m, double* out);
  const double* scaled(const double* h, index m);
  void gather(const Kept& T, index n, index* offset);
  void transpose(const Kept& T, index n, index m);
  void kept_product(const index* begin, const index* end, const std::int32_t* idx, const double* val, const double* x,
                    index n, bool squared, double* out);
  template <class F>
  void by_pieces(index n, index work, F&& run);
  Tiling tiling(const Geometry& geo) const;
  Tiling tiling(index n, index m, bool deep, index work) const;  // of a row: row_work
  Shape over(index n) const;                                     // a thread an element
  Shape by_rows(index n) const;
  void check(const Kept& T) const {
    if (T.version != 0 && T.version != kept_version_) throw std::logic_error(kStaleKept);
  }
  template <class T>
  T* grown(Buffer<T>& b, index n) {
    if (b.size() < n) {
      b = Buffer<T>();
      b = buffer<T>(n + n / 8);
    }
    return b.data();
  }

  Device& device_;
  Buffer<double> h_, parts_, row_, val_, col_val_;
  Buffer<std::int32_t> idx_, col_row_;
  Buffer<index> begin_, end_, length_, offset_, col_begin_;
  Buffer<std::uint32_t> keys_;
  Buffer<Placed> entries_;
  HostLines host_lines_;
  GraphFactor factor_;
  struct {  // on the host: the columns of T, and the diagonal of (columns, rows)
    Buffer<index> begin;
    Buffer<std::int32_t> row;
    Buffer<double> val, diagonal;
  } host_;
  std::uint64_t kept_version_ = 0, transposed_version_ = 0;
  index kept_n_ = 0, kept_m_ = 0, kept_capacity_ = 0;
};

}  // namespace ot::cuda
