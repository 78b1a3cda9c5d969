// Sorting of floating-point numbers by the digits of their bits, from the least significant: O(n), without branches
// that depend on the numbers.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "core/types.hpp"

namespace ot {

// An unsigned integer that is ordered as a number is: bits of negative numbers are complemented.
template <class T>
struct SortKey {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static constexpr Bits kSign = Bits{1} << (8 * sizeof(T) - 1);
  static Bits of(T value) {
    const auto bits = std::bit_cast<Bits>(value);
    return bits & kSign ? ~bits : bits | kSign;
  }
  static T number(Bits key) { return std::bit_cast<T>(key & kSign ? key & ~kSign : ~key); }
};

// A number to be sorted, and one that remembers where it stood.
template <class T>
struct Key {
  typename SortKey<T>::Bits key;
  auto operator<=>(const Key&) const = default;
};
template <class T>
struct PlacedKey {
  typename SortKey<T>::Bits key;
  std::uint32_t place;
  auto operator<=>(const PlacedKey&) const = default;
};

// Below this many items a comparison sort is faster: 60 ns an item for either at 128 numbers of float64; 20 against
// 70 to 110 at 512, and 13 against 80 to 140 at 4096. Digits of 11 bits take 49, 18 and 81 ns at 512, 4096 and 10^6
// items, those of 8 bits 18, 13 and 66.
inline constexpr index kLeastRadix = 128;

// Sorts `items`; `spare` has as many. Returns the one of the two arrays that holds the result.
template <class Item>
Item* radix_sort(Item* items, Item* spare, index n) {
  if (n < kLeastRadix) {
    std::sort(items, items + n);
    return items;
  }
  using Bits = decltype(items->key);
  constexpr int kDigit = 8, kDigits = sizeof(Bits);
  constexpr Bits kMask = (Bits{1} << kDigit) - 1;
  std::array<std::array<std::uint32_t, kMask + 1>, kDigits> starts{};
  for (index i = 0; i < n; ++i)
    for (int d = 0; d < kDigits; ++d) ++starts[d][items[i].key >> (kDigit * d) & kMask];
  for (int d = 0; d < kDigits; ++d) {
    auto& start = starts[d];
    const int shift = kDigit * d;
    if (start[items[0].key >> shift & kMask] == n) continue;  // all have this digit
    std::uint32_t total = 0;
    for (auto& s : start) total += std::exchange(s, total);
    for (index i = 0; i < n; ++i) spare[start[items[i].key >> shift & kMask]++] = items[i];
    std::swap(items, spare);
  }
  return items;
}

}  // namespace ot
