// The linear system of a Newton step on the dual of a sparse plan (line_dual.hpp).
//
// beta is eliminated. With J the derivative of the entries t of a line in the potentials, a line adds
//   J - J 1 1' J / (1' J 1)
// to the generalised Hessian H. J is diagonal, 1/sigma at tied entries and 1/(reg + sigma) at entries above the tie,
// less a matrix of rank one over the tied entries. `ridge` is added to the diagonal of H.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/array.hpp"
#include "sparse/backend.hpp"

namespace ot {

class LineHessian {
 public:
  using Doubles = Array<double>;

  // H at the support that the backend wrote. Lines and others are sorted by length and laid out by eights of nearly
  // equal length, so that loops over them are long: branch mispredictions at the ends of short loops cost more than
  // the sort.
  void build(const LineView& L, double ridge) {
    select_lines(L);
    const index line_slices = slices(lines_.size()), other_slices = slices(L.others);
    sum_lines(L, 8 * line_slices);
    sort_others(L.others);
    lay_out(L, line_slices, other_slices);
    for (Doubles* v : {&cg_.diagonal, &cg_.inverse, &cg_.gradient, &cg_.step, &cg_.residual, &cg_.product})
      v->assign(8 * other_slices, 0);
    cg_.direction.assign(8 * other_slices + 8, 0);
    cg_.q.assign(16 * line_slices + 8, 0);
    for (index r = 0; r < others_.size(); ++r) {
      const index i = others_[r];
      cg_.diagonal[r] = diagonal_.of_entries[i] + ridge;
      cg_.inverse[r] = 1 / (std::max(0.0, diagonal_.of_hessian[i]) + ridge);
    }
  }

  // step = H^-1 gradient, until the residual is `left` of the gradient (L1).
  template <LineOperations B>
  void solve(B& be, const Doubles& gradient, Doubles& step, double left = LineSystem().left) {
    for (index r = 0; r < others_.size(); ++r) cg_.gradient[r] = gradient[others_[r]];
    be.line_step(LineSystem{.line_slices = line_slots_.begin.size() / 2,
                            .other_slices = other_slots_.begin.size() - 1,
                            .line_slots = line_slots_.begin.data(),
                            .other_slots = other_slots_.begin.data(),
                            .line_idx = line_slots_.idx.data(),
                            .other_idx = other_slots_.idx.data(),
                            .tied_tied = coupling_.tied_tied.data(),
                            .tied_above = coupling_.tied_above.data(),
                            .above_above = coupling_.above_above.data(),
                            .diagonal = cg_.diagonal.data(),
                            .inverse = cg_.inverse.data(),
                            .gradient = cg_.gradient.data(),
                            .step = cg_.step.data(),
                            .residual = cg_.residual.data(),
                            .direction = cg_.direction.data(),
                            .product = cg_.product.data(),
                            .q = cg_.q.data(),
                            .left = left});
    for (index r = 0; r < others_.size(); ++r) step[others_[r]] = cg_.step[r];
  }

 private:
  // The support of a line: tied entries in [tied_begin, above_begin), the others up to above_end.
  struct Line {
    index tied_begin, above_begin, above_end;
    index tied() const { return above_begin - tied_begin; }
    index above() const { return above_end - above_begin; }
  };
  struct Slots {
    Array<index> begin;       // of a slice
    Array<std::int32_t> idx;  // eight a slot
  };
  static index slices(index n) { return (n + 7) / 8; }

  // Lines of two entries or more, by their tied entries, then by those above. The entry of a line that has one only
  // is the mass of the line: it has no derivative.
  void select_lines(const LineView& L) {
    lines_.resize(L.lines);
    index count = 0, tied = 0;
    for (index j = 0; j < L.lines; ++j) {
      const Line line{L.tied_begin[j], L.above_begin[j], L.above_end[j]};
      lines_[count] = line;
      tied += line.tied();
      count += line.tied() + line.above() > 1;
    }
    lines_.resize(count);
    sort_by(lines_, scratch_.lines, [](const Line& line) { return line.above(); });
    if (tied > 0) sort_by(lines_, scratch_.lines, [](const Line& line) { return line.tied(); });
  }

  // coupling_ by line, diagonal_ and degree_ by other.
  void sum_lines(const LineView& L, index places) {
    const double flat = 1 / (L.reg + L.sigma), steep = L.sigma > 0 ? 1 / L.sigma : 0;
    for (Doubles* v : {&coupling_.tied_tied, &coupling_.tied_above, &coupling_.above_above}) v->assign(places, 0);
    for (Doubles* v : {&diagonal_.of_entries, &diagonal_.of_hessian}) v->assign(L.others, 0);
    degree_.assign(L.others, 0);
    for (index r = 0; r < lines_.size(); ++r) {
      const Line& line = lines_[r];
      double rank = 0, slope = 0;  // of the rank one, and J 1 at a tied entry
      if (line.tied() > 0) {
        const auto tied = static_cast<double>(line.tied());
        const double rest = tied + static_cast<double>(std::max<index>(0, L.k - line.above())) * (L.sigma / L.reg);
        rank = 1 / (L.sigma * rest);
        slope = (1 - tied / rest) / L.sigma;
      }
      const double total = static_cast<double>(line.above()) * flat + static_cast<double>(line.tied()) * slope;
      const double height = total > 0 ? 1 / total : 0;
      // The order of the products keeps them in range at a reg of 1e200.
      coupling_.tied_tied[r] = rank + slope * (slope * height);
      coupling_.tied_above[r] = slope * (flat * height);
      coupling_.above_above[r] = flat * (flat * height);
      for (index p = line.tied_begin; p < line.above_end; ++p) {
        const index i = L.support[p];
        const bool tied = p < line.above_begin;
        ++degree_[i];
        diagonal_.of_entries[i] += tied ? steep : flat;
        diagonal_.of_hessian[i] += tied ? steep - coupling_.tied_tied[r] : flat - coupling_.above_above[r];
      }
    }
  }

  void sort_others(index count) {
    others_.resize(count);
    for (index i = 0; i < count; ++i) others_[i] = static_cast<std::int32_t>(i);
    sort_by(others_, scratch_.others, [this](std::int32_t i) { return degree_[i]; });
  }

  // Stable counting sort.
  template <class T, class Length>
  void sort_by(Array<T>& items, Array<T>& spare, Length length) {
    scratch_.count.clear();
    for (const T& item : items) {
      const index n = length(item);
      if (n + 1 >= scratch_.count.size()) scratch_.count.resize(n + 2, 0);
      ++scratch_.count[n + 1];
    }
    for (index n = 1; n < scratch_.count.size(); ++n) scratch_.count[n] += scratch_.count[n - 1];
    spare.resize(items.size());
    for (const T& item : items) spare[scratch_.count[length(item)]++] = item;
    items.swap(spare);
  }

  // Slots of lines hold places of others, slots of others hold places in q.
  void lay_out(const LineView& L, index line_slices, index other_slices) {
    scratch_.place.resize(L.others);
    for (index r = 0; r < others_.size(); ++r) scratch_.place[others_[r]] = static_cast<std::int32_t>(r);
    line_slots_.begin.assign(1, 0);
    index last = 0;
    for (index s = 0; s < line_slices; ++s) {
      index tied = 0, above = 0;
      for (index r = 8 * s; r < std::min(8 * s + 8, lines_.size()); ++r) {
        tied = std::max(tied, lines_[r].tied());
        above = std::max(above, lines_[r].above());
      }
      line_slots_.begin.push_back(last += tied);
      line_slots_.begin.push_back(last += above);
    }
    line_slots_.idx.assign(8 * last, static_cast<std::int32_t>(8 * other_slices));
    other_slots_.begin.assign(1, 0);
    for (index s = 0; s < other_slices; ++s) {
      const index longest = others_[std::min(8 * s + 7, others_.size() - 1)];  // they are sorted
      other_slots_.begin.push_back(other_slots_.begin.back() + degree_[longest]);
    }
    other_slots_.idx.assign(8 * other_slots_.begin.back(), static_cast<std::int32_t>(16 * line_slices));
    scratch_.next.resize(L.others);
    for (index r = 0; r < others_.size(); ++r) scratch_.next[others_[r]] = 8 * other_slots_.begin[r / 8] + r % 8;
    for (index r = 0; r < lines_.size(); ++r) {
      const Line& line = lines_[r];
      const index slice = r / 8, lane = r % 8;
      const auto put = [&](index first, index end, index slot, index q) {
        for (index p = first; p < end; ++p, ++slot) {
          const index i = L.support[p];
          line_slots_.idx[8 * slot + lane] = scratch_.place[i];
          other_slots_.idx[scratch_.next[i]] = static_cast<std::int32_t>(q);
          scratch_.next[i] += 8;
        }
      };
      put(line.tied_begin, line.above_begin, line_slots_.begin[2 * slice], 16 * slice + 8 + lane);
      put(line.above_begin, line.above_end, line_slots_.begin[2 * slice + 1], 16 * slice + lane);
    }
  }

  Array<Line> lines_;           // sorted
  Array<std::int32_t> others_;  // sorted
  Array<index> degree_;         // of an other: its entries
  Slots line_slots_, other_slots_;
  struct {
    Doubles tied_tied, tied_above, above_above;  // see LineSystem
  } coupling_;
  struct {
    Doubles of_entries;  // the sum of J
    Doubles of_hessian;  // less what the lines take off
  } diagonal_;
  struct {
    Doubles diagonal, inverse, gradient, step, residual, direction, product, q;
  } cg_;
  struct {
    Array<Line> lines;
    Array<std::int32_t> others;
    Array<index> count;
    Array<std::int32_t> place;  // the inverse of others_
    Array<index> next;          // free slot of an other
  } scratch_;
};

}  // namespace ot
