// A growing array in recycled memory (core/memory.hpp), indexed by ot::index.
#pragma once
#include <type_traits>
#include <utility>
#include <vector>

#include "core/memory.hpp"
#include "core/types.hpp"

namespace ot {

template <class T>
class Array {
  using Vector = std::vector<T, Recycling<T>>;
  static std::size_t at(index i) { return static_cast<std::size_t>(i); }

 public:
  using value_type = T;
  using iterator = typename Vector::iterator;

  Array() = default;
  explicit Array(index n, const T& value = T()) : items_(at(n), value) {}

  index size() const { return static_cast<index>(items_.size()); }
  bool empty() const { return items_.empty(); }
  T* data() { return items_.data(); }
  const T* data() const { return items_.data(); }
  T& operator[](index i) { return items_[at(i)]; }
  const T& operator[](index i) const { return items_[at(i)]; }
  T& front() { return items_.front(); }
  T& back() { return items_.back(); }
  const T& front() const { return items_.front(); }
  const T& back() const { return items_.back(); }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  auto rbegin() { return items_.rbegin(); }
  auto rend() { return items_.rend(); }

  void assign(index n, const T& value) { items_.assign(at(n), value); }
  template <class Iterator>
    requires(!std::is_arithmetic_v<Iterator>)
  void assign(Iterator first, Iterator last) {
    items_.assign(first, last);
  }
  void resize(index n) { items_.resize(at(n)); }
  void resize(index n, const T& value) { items_.resize(at(n), value); }
  void reserve(index n) { items_.reserve(at(n)); }
  void clear() { items_.clear(); }
  void swap(Array& other) noexcept { items_.swap(other.items_); }
  void push_back(const T& value) { items_.push_back(value); }
  template <class... Args>
  void emplace_back(Args&&... args) {
    items_.emplace_back(std::forward<Args>(args)...);
  }
  void pop_back() { items_.pop_back(); }
  void erase(iterator first, iterator last) { items_.erase(first, last); }

 private:
  Vector items_;
};

}  // namespace ot
