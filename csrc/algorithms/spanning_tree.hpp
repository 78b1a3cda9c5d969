// The spanning tree of the network simplex: rows, columns and a root, as children and siblings.
#pragma once
#include <utility>

#include "core/array.hpp"
#include "core/types.hpp"

namespace ot {

class SpanningTree {
 public:
  // 64 bytes, one cache line.
  struct Node {
    double flow = 0;  // of the arc to the parent
    double potential = 0;
    index parent = -1;               // -1: not in the tree; nodes without mass stay out
    index arc = -1;                  // to the parent; -1: the artificial arc to the root
    index child = -1;                // the first child; the others are its siblings
    index next = -1, previous = -1;  // siblings
    index depth = -1;
  };
  struct Link {
    index arc;
    double flow;
  };

  // Nodes are the rows, then the columns, then the root.
  SpanningTree(index rows, index columns) : rows_(rows), root_(rows + columns) {}
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
    node.parent = under;
    node.previous = -1;
    node.next = above.child;
    if (node.next >= 0) nodes_[node.next].previous = v;
    above.child = v;
  }

  // The arc above `leaving` is removed, and the subtree below it, which contains v, becomes a subtree of `under` by
  // `link`, an arc between v and `under`. v is the new root of the subtree: parent and child swap on the path from v to
  // `leaving`.
  void reroot(index v, index under, index leaving, Link link) {
    for (;;) {
      Node& node = nodes_[v];
      const index up = node.parent;
      cut(v);
      attach(v, under);
      std::swap(node.arc, link.arc);
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

}  // namespace ot
