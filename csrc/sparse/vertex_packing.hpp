// Vertices of the transport polytope with few entries a column, costs aside.
#pragma once
#include <algorithm>
#include <optional>
#include <utility>

#include "algorithms/network_simplex.hpp"
#include "sparse/constants.hpp"

namespace ot {

// Arcs sorted by column, then by row; column j has the arcs [begin_j, begin_{j+1}).
struct ColumnArcs {
  Array<index> begin;

  // The arc from row i to column j, -1 if there is none.
  index find(const NetworkSimplex& simplex, index i, index j) const {
    const auto before = [](const NetworkSimplex::Arc& arc, index row) { return arc.row < row; };
    const auto first = simplex.arcs.begin(), end = first + begin[j + 1];
    const auto found = std::lower_bound(first + begin[j], end, i, before);
    return found != end && found->row == i ? found - first : -1;
  }
};

using Forest = Array<SpanningTree::Link>;

// Columns in the order of their distance from column j in the tree, along arcs with flow.
inline Array<index> columns_around(const NetworkSimplex& simplex, index j) {
  const SpanningTree& tree = simplex.tree();
  Array<index> columns, path(1, tree.column(j));
  Array<char> met(tree.nodes(), 0);
  columns.reserve(simplex.sides().columns);
  path.reserve(tree.nodes());
  met[path[0]] = 1;
  for (index r = 0; r < path.size(); ++r) {
    const index v = path[r];
    if (!tree.is_row(v)) columns.push_back(v - tree.column(0));
    const auto meet = [&](index w, index lower) {
      if (w == tree.root() || met[w] || !(tree[lower].flow > 0)) return;
      met[w] = 1;
      path.push_back(w);
    };
    meet(tree[v].parent, v);
    for (index w = tree[v].child; w >= 0; w = tree[w].next) meet(w, w);
  }
  return columns;
}

// The first at most k consecutive rows, in a list sorted by mass, that together have the mass of a column.
struct Filling {
  index first = 0, last = 0;
  double mass = 0;
};
inline Filling find_filling(const Array<std::pair<double, index>>& rows, double mass, index k) {
  Filling found;
  while (found.mass < mass - sparse::kNegligibleMass && found.last < rows.size()) {
    found.mass += rows[found.last++].first;
    if (found.last - found.first > k) found.mass -= rows[found.first++].first;
  }
  return found;
}

// A forest with the marginals: the plan of the tree for columns that are not chosen, and a new one for those that are.
// The heaviest column takes the smallest rows that can fill it, and of the last one only the mass missing. This leaves
// fewer rows for fewer columns, and ends with at most k entries a column wherever there are at most c (k - 1) + 1 rows
// for c columns and the masses are not too uneven. Returns nothing where a column cannot be filled.
inline std::optional<Forest> pack_columns(const NetworkSimplex& simplex, const ColumnArcs& columns, index k,
                                          const Array<char>& chosen) {
  const FlowSides& sides = simplex.sides();
  const SpanningTree& tree = simplex.tree();
  Forest forest;
  forest.reserve(tree.nodes());
  Array<double> left;  // by row
  left.assign(sides.a, sides.a + sides.rows);
  for (index v = 0; v < tree.root(); ++v) {
    const SpanningTree::Node& node = tree[v];
    if (node.parent < 0 || node.arc < 0 || !(node.flow > 0) || chosen[simplex.arcs[node.arc].col]) continue;
    left[simplex.arcs[node.arc].row] -= node.flow;
    forest.push_back({node.arc, node.flow});
  }
  Array<std::pair<double, index>> rows, order;
  rows.reserve(sides.rows);
  order.reserve(sides.columns);
  for (index i = 0; i < sides.rows; ++i)
    if (left[i] > sparse::kNegligibleMass) rows.emplace_back(left[i], i);
  for (index j = 0; j < sides.columns; ++j)
    if (sides.b[j] > 0 && chosen[j]) order.emplace_back(sides.b[j], j);
  std::sort(rows.begin(), rows.end());
  std::sort(order.rbegin(), order.rend());
  for (const auto& [mass, j] : order) {
    const Filling filling = find_filling(rows, mass, k);
    if (filling.mass < mass - sparse::kNegligibleMass) return std::nullopt;
    double missing = mass;
    for (index r = filling.first; r < filling.last; ++r) {
      auto& [of_row, i] = rows[r];
      const double part = std::min(of_row, missing);
      const index e = columns.find(simplex, i, j);
      if (e < 0) return std::nullopt;
      if (part > sparse::kNegligibleMass) forest.push_back({e, part});
      of_row -= part;
      missing -= part;
    }
    const auto first = rows.begin() + filling.first, last = rows.begin() + filling.last;
    rows.erase(std::remove_if(first, last, [](const auto& row) { return row.first <= sparse::kNegligibleMass; }), last);
    std::sort(rows.begin(), rows.end());
  }
  return forest;
}

}  // namespace ot
