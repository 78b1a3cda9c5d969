// The system of a Newton step on the dual of lines (lines.hpp): the generalised Hessian after beta is
// eliminated. Per line, with J the derivative of t: J - J1 1'J / 1'J1, where J = diag(weight) less a rank
// one over the entries near the tie. The weight is 1/sigma near the tie and 1/(reg + sigma) above; J1 is
// `share` near it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>

#include "core/array.hpp"
#include "core/types.hpp"

namespace ot {

class LineCurvature {
 public:
  using Doubles = Array<double>;

  // From the positive entries of lines. Lines and others are sorted by length, eight of about the same
  // abreast: what is done to them has no short loops, whose ends a processor cannot foretell.
  void build(const LineView& L, double ridge) {
    const double flat = 1 / (L.reg + L.sigma), steep = L.sigma > 0 ? 1 / L.sigma : 0;
    find(L);
    const index slices = ceil8(lines_.size()), other_slices = ceil8(L.others);
    for (Doubles* v : {&near_near_, &near_top_, &top_top_}) v->assign(8 * slices, 0);
    weight_.assign(L.others, 0);
    least_.assign(L.others, 0);
    degree_.assign(L.others, 0);
    for (index r = 0; r < lines_.size(); ++r) {
      const Line& line = lines_[r];
      const index near = line.near - line.first, top = line.end - line.near;
      double rank = 0, share = 0;
      if (near > 0) {
        const auto m = static_cast<double>(near);
        const double rest = m + static_cast<double>(std::max<index>(0, L.k - top)) * (L.sigma / L.reg);
        rank = 1 / (L.sigma * rest);
        share = (1 - m / rest) / L.sigma;
      }
      const double h = static_cast<double>(top) * flat + static_cast<double>(near) * share, height = h > 0 ? 1 / h : 0;
      // In this order: at a reg of 1e200 squares leave the range.
      near_near_[r] = rank + share * (share * height);
      near_top_[r] = share * (flat * height);
      top_top_[r] = flat * (flat * height);
      for (index p = line.first; p < line.end; ++p) {
        const index i = L.positive[p];
        const bool tied = p < line.near;
        ++degree_[i];
        weight_[i] += tied ? steep : flat;
        least_[i] += tied ? steep - near_near_[r] : flat - top_top_[r];
      }
    }
    others_.resize(L.others);
    for (index i = 0; i < L.others; ++i) others_[i] = static_cast<std::int32_t>(i);
    by_length(others_, spare_others_, [this](std::int32_t i) { return degree_[i]; });
    lay_out(L, slices, other_slices);
    for (Doubles* v : {&diagonal_, &inverse_, &gradient_, &step_, &residual_, &product_})
      v->assign(8 * other_slices, 0);
    direction_.assign(8 * other_slices + 8, 0);
    q_.assign(16 * slices + 8, 0);
    for (index r = 0; r < others_.size(); ++r) {
      const index i = others_[r];
      diagonal_[r] = weight_[i] + ridge;
      inverse_[r] = 1 / (std::max(0.0, least_[i]) + ridge);
    }
  }

  // step = H^-1 gradient.
  void solve(const std::function<void(const LineSystem&)>& solver, const Doubles& gradient, Doubles& step) {
    for (index r = 0; r < others_.size(); ++r) gradient_[r] = gradient[others_[r]];
    solver({line_slots_.size() / 2, other_slots_.size() - 1, line_slots_.data(), other_slots_.data(), line_idx_.data(),
            other_idx_.data(), near_near_.data(), near_top_.data(), top_top_.data(), diagonal_.data(), inverse_.data(),
            gradient_.data(), step_.data(), residual_.data(), direction_.data(), product_.data(), q_.data()});
    for (index r = 0; r < others_.size(); ++r) step[others_[r]] = step_[r];
  }

 private:
  struct Line {
    index first, near, end;  // its positive entries, those near the tie before `near`
  };
  static index ceil8(index n) { return (n + 7) / 8; }

  // Lines of two entries or more: one entry follows its line, without curvature.
  void find(const LineView& L) {
    lines_.resize(L.lines);
    index count = 0;
    index tied = 0;
    for (index j = 0; j < L.lines; ++j) {
      lines_[count] = {L.first[j], L.near[j], L.end[j]};
      tied += L.near[j] - L.first[j];
      count += L.end[j] - L.first[j] > 1;
    }
    lines_.resize(count);
    by_length(lines_, spare_lines_, [](const Line& line) { return line.end - line.near; });
    if (tied > 0) by_length(lines_, spare_lines_, [](const Line& line) { return line.near - line.first; });
  }

  // Stable, by counting.
  template <class T, class Length>
  void by_length(Array<T>& items, Array<T>& spare, Length length) {
    count_.clear();
    for (const T& item : items) {
      const index n = length(item);
      if (n + 1 >= count_.size()) count_.resize(n + 2, 0);
      ++count_[n + 1];
    }
    for (index n = 1; n < count_.size(); ++n) count_[n] += count_[n - 1];
    spare.resize(items.size());
    for (const T& item : items) spare[count_[length(item)]++] = item;
    items.swap(spare);
  }

  void lay_out(const LineView& L, index slices, index other_slices) {
    place_.resize(L.others);
    for (index r = 0; r < others_.size(); ++r) place_[others_[r]] = static_cast<std::int32_t>(r);
    line_slots_.assign(1, 0);
    index last = 0;
    for (index s = 0; s < slices; ++s) {
      index near = 0, top = 0;
      for (index r = (8 * s); r < std::min(8 * s + 8, lines_.size()); ++r) {
        near = std::max(near, lines_[r].near - lines_[r].first);
        top = std::max(top, lines_[r].end - lines_[r].near);
      }
      line_slots_.push_back(last += near);
      line_slots_.push_back(last += top);
    }
    line_idx_.assign(8 * last, static_cast<std::int32_t>(8 * other_slices));
    other_slots_.assign(1, 0);
    for (index s = 0; s < other_slices; ++s)  // sorted: the last is the longest
      other_slots_.push_back(other_slots_.back() + degree_[others_[std::min(8 * s + 7, others_.size() - 1)]]);
    other_idx_.assign(8 * other_slots_.back(), static_cast<std::int32_t>(16 * slices));
    next_.resize(L.others);
    for (index r = 0; r < others_.size(); ++r) next_[others_[r]] = 8 * other_slots_[r / 8] + r % 8;
    for (index r = 0; r < lines_.size(); ++r) {
      const Line& line = lines_[r];
      const index slice = r / 8, lane = r % 8;
      const auto put = [&](index first, index end, index slot, index q) {
        for (index p = first; p < end; ++p, ++slot) {
          const index i = L.positive[p];
          line_idx_[8 * slot + lane] = place_[i];
          other_idx_[next_[i]] = static_cast<std::int32_t>(q);
          next_[i] += 8;
        }
      };
      put(line.first, line.near, line_slots_[2 * slice], 16 * slice + 8 + lane);
      put(line.near, line.end, line_slots_[2 * slice + 1], 16 * slice + lane);
    }
  }

  Array<Line> lines_, spare_lines_;
  Array<std::int32_t> others_, spare_others_, place_, line_idx_, other_idx_;
  Array<index> count_, degree_, next_, line_slots_, other_slots_;
  Doubles near_near_, near_top_, top_top_, weight_, least_;
  Doubles diagonal_, inverse_, gradient_, step_, residual_, direction_, product_, q_;
};

}  // namespace ot
