// Bodies of one_dimension/solvers.hpp.
#pragma once
#include <numeric>
#include <tuple>
#include <vector>

#include "one_dimension/backend.hpp"
#include "one_dimension/circle.hpp"
#include "one_dimension/solvers.hpp"

namespace ot {

// One problem of a batch: its measures in order, a circle cut open.
class SortedPair {
 public:
  SortedPair(const Measures& x, const Measures& y, const OneDimensionOptions& o, bool places)
      : o_(o),
        x_(x.dtype, x.size, places || x.weights),
        y_(y.dtype, y.size, places || y.weights),
        x_levels_(o.circle() ? x.size : 0),
        y_levels_(o.circle() ? y.size : 0) {}

  void load_x(const Measures& x, index row) { x_.load(x, row, o_.period); }
  void load_y(const Measures& y, index row) { y_.load(y, row, o_.period); }
  // Once both are there.
  void cut() {
    if (!o_.circle()) return;
    const Cut cut = CircleSearch(x_, y_, x_levels_, y_levels_, o_).find();
    x_.start_at(cut.x, o_.period, 0);
    y_.start_at(cut.y, o_.period, cut.turns * o_.period);
  }
  const SortedMeasure& x() const { return x_; }
  const SortedMeasure& y() const { return y_; }

 private:
  OneDimensionOptions o_;
  SortedMeasure x_, y_;
  Array<double> x_levels_, y_levels_;
};

inline void write_distance(const SortedPair& pair, double p, const OneDimensionResult& to, index row) {
  const Distance distance(pair.x(), pair.y(), p);
  const index n = pair.x().size(), m = pair.y().size();
  to.distance[row] = distance.value();
  if (to.gradient_x) {
    double *gx = to.gradient_x + row * n, *gy = to.gradient_y + row * m;
    std::fill_n(gx, n, 0.0);
    std::fill_n(gy, m, 0.0);
    distance.add_gradients(gx, gy);
  }
  if (to.gradient_a) distance.weight_gradients(to.gradient_a + row * n, to.gradient_b + row * m);
}

// Problems of a slab are sorted, then solved, each by one thread. A slab is so large that threads pay.
template <class B>
void OneDimensionSolvers<B>::distances(B& be, const Measures& x, const Measures& y, index batch,
                                       const OneDimensionOptions& o, const OneDimensionResult& to) {
  constexpr index kSlab = index{1} << 17;  // points: about a millisecond
  static_assert(HostTasks<B>);
  o.check();
  const index slab = std::clamp<index>(kSlab / (x.size + y.size), std::min<index>(be.threads(), batch), batch);
  std::vector<SortedPair> pairs;
  for (index k = 0; k < slab; ++k) pairs.emplace_back(x, y, o, to.gradient_x || to.gradient_a);
  for (index row = 0; row < batch; row += slab) {
    const index count = std::min(slab, batch - row);
    be.for_tasks(2 * count, [&](index k) {
      SortedPair& pair = pairs[static_cast<std::size_t>(k / 2)];
      k % 2 ? pair.load_y(y, row + k / 2) : pair.load_x(x, row + k / 2);
    });
    be.for_tasks(count, [&](index k) {
      SortedPair& pair = pairs[static_cast<std::size_t>(k)];
      pair.cut();
      write_distance(pair, o.p, to, row + k);
    });
    be.poll();
  }
}

// Writes the coupling by rows of the caller: its entries are counted, placed, and sorted within each row.
inline void write_plan(const SortedPair& pair, const PlanRows& to) {
  const SortedMeasure &x = pair.x(), &y = pair.y();
  std::fill_n(to.begin, x.size() + 1, index{0});
  for_coupling(x, y, [&](index i, index, double t) { to.begin[x.place(i) + 1] += t > 0; });
  std::partial_sum(to.begin, to.begin + x.size() + 1, to.begin);
  Array<index> next;
  next.assign(to.begin, to.begin + x.size());
  Array<std::pair<std::int32_t, double>> entries(to.begin[x.size()]);
  for_coupling(x, y, [&](index i, index j, double t) {
    if (t > 0) entries[next[x.place(i)]++] = {static_cast<std::int32_t>(y.place(j)), t};
  });
  for (index i = 0; i < x.size(); ++i) std::sort(entries.begin() + to.begin[i], entries.begin() + to.begin[i + 1]);
  for (index e = 0; e < entries.size(); ++e) std::tie(to.column[e], to.mass[e]) = entries[e];
}

template <class B>
void OneDimensionSolvers<B>::plan(B& be, const Measures& x, const Measures& y, const OneDimensionOptions& o,
                                  const PlanRows& to) {
  o.check();
  SortedPair pair(x, y, o, true);
  be.for_tasks(2, [&](index k) { k ? pair.load_y(y, 0) : pair.load_x(x, 0); });
  pair.cut();
  write_plan(pair, to);
}

}  // namespace ot
