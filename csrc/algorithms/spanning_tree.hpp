// The spanning tree of the network simplex: rows, columns and a root, as children and siblings.
#pragma once
#include <utility>

#include "core/array.hpp"
#include "core/types.hpp"

namespace ot {

// Mass is what flows are counted in: double, or std::int64_t where they are to be exact.
template <class Mass>
class SpanningTreeOf {
 public:
  // 32 bytes, half a cache line.
  struct Node {
    Mass flow = 0;                          // of the arc to the parent
    std::int32_t parent = -1;               // -1: not in the tree; nodes without mass stay out
    std::int32_t arc = -1;                  // to the parent; -1: the artificial arc to the root
    std::int32_t child = -1;                // the first child; the others are its siblings
    std::int32_t next = -1, previous = -1;  // siblings
    std::int32_t depth = -1;
  };
  struct Link {
    index arc;
    Mass flow;
  };

  // Nodes are the rows, then the columns, then the root.
  SpanningTreeOf(index rows, index columns) : rows_(rows), root_(rows + columns) {}
  index root() const { return root_; }
  index nodes() const { return root_ + 1; }
  index column(index j) const { return rows_ + j; }
  bool is_row(index v) const { return v < rows_; }
  Node& operator[](index v) { return nodes_[v]; }
  const Node& operator[](index v) const { return nodes_[v]; }

  void clear() { nodes_.assign(nodes(), {}); }

  // v, which has no parent, becomes the first child of `under`.
  void attach(index v, index under) {
    Node &node = nodes_[v], &above = nodes_[under];
    node.parent = static_cast<std::int32_t>(under);
    node.previous = -1;
    node.next = above.child;
    if (node.next >= 0) nodes_[node.next].previous = static_cast<std::int32_t>(v);
    above.child = static_cast<std::int32_t>(v);
  }

  // v and the node above it, which has no parent, change places.
  void lift(index v) {
    const index up = nodes_[v].parent;
    cut(v);
    nodes_[v].parent = -1;
    attach(up, v);
    std::swap(nodes_[up].arc, nodes_[v].arc);
    std::swap(nodes_[up].flow, nodes_[v].flow);
  }

  // The arc above `leaving` is removed, and the subtree below it, which contains v, becomes a subtree of `under` by
  // `link`, an arc between v and `under`. v is the new root of the subtree: parent and child swap on the path from v to
  // `leaving`.
  void reroot(index v, index under, index leaving, Link link) {
    auto arc = static_cast<std::int32_t>(link.arc);
    for (;;) {
      Node& node = nodes_[v];
      const index up = node.parent;
      cut(v);
      attach(v, under);
      std::swap(node.arc, arc);
      std::swap(node.flow, link.flow);
      if (v == leaving) return;
      under = v;
      v = up;
    }
  }

 private:
  void cut(index v) {
    const Node& node = nodes_[v];
    if (node.previous >= 0) nodes_[node.previous].next = node.next;
    else nodes_[node.parent].child = node.next;
    if (node.next >= 0) nodes_[node.next].previous = node.previous;
  }

  index rows_, root_;
  Array<Node> nodes_;
};

using SpanningTree = SpanningTreeOf<double>;

}  // namespace ot
