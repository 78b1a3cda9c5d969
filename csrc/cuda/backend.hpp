// The CUDA backend: each operation of the seam as one or two kernels over C (cuda/kernels/), in the caller's stream.
// Declarations only. Bodies (backend-inl.hpp) are compiled where a Device can launch kernels: by nvcc for a GPU
// (instantiate.cu), by the C++ compiler for the tests, whose device is the host.
//
// A Device has
//   Memory& memory();                          for buffers
//   launch(Shape, body);                       body(team) for every team, in order of the stream
//   int processors(), threads(), blocks();     multiprocessors; most threads of a block, and blocks of a team
//   int at_once(blocks);                       teams of so many blocks, of most threads, that run side by side
//   T* staging<T>(n);                          memory that kernels write and the host reads after wait()
//   upload(to, from, bytes), download(...);    download waits
//   wait(); poll(); seconds(f);                for the device; for Ctrl-C (throws); time of what f launches
//   scan(n, in, out);                          exclusive sums
//   sort(n, keys, entries, bound);             stable, by keys < bound
//   sort_descending(n, values);
#pragma once
#include <array>
#include <stdexcept>

#include "algorithms/graph_factor.hpp"
#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "cuda/kernels/kept_entries.hpp"
#include "sparse/backend.hpp"
#include "sparse/host_lines.hpp"

namespace ot::cuda {

template <class Device>
class BackendOn {
 public:
  explicit BackendOn(Device& device) : device_(device) {}
  Device& device() { return device_; }

  // ---------------------------------------------------------------- Vectors (vectors-inl.hpp)

  template <class T>
  Buffer<T> buffer(index n) {
    return Buffer<T>(n, device_.memory());
  }
  void write(index n, const double* from, double* to) {
    device_.upload(to, from, n * static_cast<index>(sizeof(double)));
  }
  void read(index n, const double* from, double* to) {
    device_.download(to, from, n * static_cast<index>(sizeof(double)));
  }
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

  // ---------------------------------------------------------------- Passes (passes-inl.hpp, plan_reads-inl.hpp)

  void pass(const Geometry& geo, const Pass& p);
  void c_transform(const Geometry& geo, const double* g, double* row, const double* weight, double* col);

  // ---------------------------------------------------------------- KeptEntries (kept_entries-inl.hpp)

  void pass(const Geometry& geo, const Pass& p, Kept& kept);
  void kept_apply(const Kept& T, index n, const double* x, double* out);
  void kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out);
  void kept_diagonal(const Kept& T, index n, index m, const double* w, double* out);
  double kept_largest(const Kept& T, index count);
  // On the host: one elimination follows another. A CG iteration takes tens of microseconds, a factor about one for
  // every entry. kept_solve copies y there and its result back.
  static constexpr index kFactorPays = 450;
  bool kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns);
  void kept_solve(index n, index m, const double* y, double* out);
  // The entries as one list: offset (n) of every row, column and val (nnz).
  void collect(const Kept& T, index n, index* offset, std::int32_t* column, double* val);

  // ---------------------------------------------------------------- StoredKernel (stored_kernel-inl.hpp)

  struct Kernel {
    Buffer<char> data;
    Precision precision = Precision::f64;
    index n = 0, m = 0;
  };
  void build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi, Precision precision,
                    Kernel& K);
  void kernel_pass(const Kernel& K, const KernelPass& p);

  // ---------------------------------------------------------------- Pricing (pricing-inl.hpp)

  void candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit, Candidates& to);

  // ---------------------------------------------------------------- PlanReads (plan_reads-inl.hpp)

  CostStats stats(Geometry geo);
  void cost_rows(const Geometry& geo, void* out, index ld);
  void cost_apply(const Geometry& geo, const double* w, double* out);
  void plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld);
  void apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns, double* out);
  // out_k = C_ij of pair k, from stored costs.
  void cost_of_pairs(const Geometry& geo, index count, const index* i, const index* j, double* out);

  // ---------------------------------------------------------------- lines of a sparse plan (sparse/backend.hpp)

  // They lie on the host, where the solver reads them, and are few: copying them to the device and back would take
  // longer than the work.
  void lines(const LineView& view, double* sums) { host_lines_.lines(view, sums); }
  void line_entries(const LineView& view) { host_lines_.line_entries(view); }
  void line_step(const LineSystem& system) { host_lines_.line_step(system); }

  // ---------------------------------------------------------------- points and limits (points-inl.hpp)

  // Fills in x, yt, xx, yy of a geometry whose kind, cost, dtype, n, m, d are set.
  PackedPoints pack(Geometry& geo, const void* x, const void* y);
  // What the device can do at most, best of several runs: 1e9 exponentials a second; GB/s, read and written.
  double exp_rate(bool f64);
  double copy_rate();

 private:
  // passes-inl.hpp
  struct Tiling;
  Tiling tiling(const Geometry& geo) const;
  Tiling tiling(index n, index m, bool deep, index row_work) const;
  template <class Source, class At>
  void sweep(const Tiling& t, index n, index m, At at, const KeptOut* kept, double* col);
  template <class TE>
  void sweep_costs(const Geometry& geo, const Pass& p, const KeptOut* kept);
  void run_pass(const Geometry& geo, const Pass& p, const KeptOut* kept);
  void row_sums(const Geometry& geo, const Pass& p);
  void append(const Geometry& geo, const Pass& p, const KeptOut& kept, index rows);
  void gradient(const Geometry& geo, const Pass& p);
  void add_parts(index count, index m, double* out);
  const double* scaled(const double* h, index m);

  // kept_entries-inl.hpp
  void kept_product(const index* begin, const index* end, const std::int32_t* idx, const double* val, const double* x,
                    index n, bool squared, double* out);
  void gather(const Kept& T, index n, index* offset);
  void transpose(const Kept& T, index n, index m);
  void check(const Kept& T) const {
    if (T.version != 0 && T.version != kept_.version) throw std::logic_error(kStaleKept);
  }

  // plan_reads-inl.hpp
  template <class Fold, class Term>
  void fold_columns(const Term& term, index n, index m, double* out);
  template <class Fold, class Term>
  void fold_rows(const Term& term, index n, index m, double* out);

  // vectors-inl.hpp
  int block_threads() const;
  Shape thread_each(index n) const;  // a thread an element
  Shape team_each(index n) const;    // a team of one block a row
  Shape warp_each(index n) const;    // a warp a row
  template <class F>
  void by_pieces(index n, index row_work, F&& run);
  template <class T>
  T* grown(Buffer<T>& b, index n);

  Device& device_;
  struct Scratch {
    Buffer<double> h;      // h log2(e) of a pass
    Buffer<double> parts;  // column sums of teams
    Buffer<double> row;    // a vector of length n
  } scratch_;
  struct KeptRegions {  // entries kept by the last pass: regions of teams
    Buffer<std::int32_t> idx;
    Buffer<double> val;
    Buffer<index> begin, end;
    index n = 0, m = 0;
    index capacity = 0;  // of a region, as the last passes needed
    std::uint64_t version = 0;
  } kept_;
  struct KeptColumns {  // the same by columns
    Buffer<index> begin;
    Buffer<std::int32_t> row;
    Buffer<double> val;
    std::uint64_t version = 0;
  } transposed_;
  struct KeptList {  // entries as one list, on the way from one to the other
    Buffer<index> length, offset;
    Buffer<std::uint32_t> keys;
    Buffer<Placed> entries;
  } list_;
  struct HostFactor {  // on the host: the columns of T, and the diagonal of (columns, rows)
    Buffer<index> begin;
    Buffer<std::int32_t> row;
    Buffer<double> val, diagonal;
    GraphFactor factor;
  } host_;
  HostLines host_lines_;
};

}  // namespace ot::cuda
