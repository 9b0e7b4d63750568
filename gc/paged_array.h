// A growing array of plain values for what the collector keeps about threads, mappings and roots.
// Its memory comes straight from the kernel, since the heap's locks may be held by threads that are stopped.
// Callers: threads.cc, mappings.cc, roots.cc, inspect/. Invariant: a growth that fails leaves the array as it was.
#pragma once

#include "allocator/base/address.h"
#include "allocator/base/os_memory.h"

#include <cstring>
#include <type_traits>

namespace warren::gc {

template <class T>
class PagedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  size_t size() const { return size_; }
  T &operator[](size_t i) { return data_[i]; }
  const T &operator[](size_t i) const { return data_[i]; }
  T *begin() { return data_; }
  T *end() { return data_ + size_; }
  const T *begin() const { return data_; }
  const T *end() const { return data_ + size_; }
  size_t capacity_bytes() const { return mapped_bytes_; }
  void clear() { size_ = 0; }
  void shrink(size_t size) { size_ = size; }
  void grow(size_t by) { size_ += by; }  // within what was reserved

  // Gives the memory back. Arrays have no destructors: most live as long as the process.
  void release() {
    if (data_ != nullptr) os_memory::unreserve(data_, mapped_bytes_);
    *this = PagedArray();
  }

  bool push_back(const T &value) {
    if (size_ == capacity_ && !reserve(size_ + 1)) return false;
    data_[size_++] = value;
    return true;
  }

  bool insert(size_t at, const T &value) {
    if (size_ == capacity_ && !reserve(size_ + 1)) return false;
    memmove(data_ + at + 1, data_ + at, (size_ - at) * sizeof(T));
    data_[at] = value;
    ++size_;
    return true;
  }

  void erase(size_t first, size_t last) {
    memmove(data_ + first, data_ + last, (size_ - last) * sizeof(T));
    size_ -= last - first;
  }

  // Room for so many; what is new in it is zero.
  bool reserve(size_t wanted) {
    if (wanted <= capacity_) return true;
    size_t bytes = align_up(wanted * sizeof(T), kOsPageSize);
    if (bytes < 2 * capacity_ * sizeof(T)) bytes = align_up(2 * capacity_ * sizeof(T), kOsPageSize);
    void *fresh = os_memory::reserve(bytes, kOsPageSize);
    if (fresh == nullptr) return false;
    if (os_memory::prepare(fresh, bytes, true) != os_memory::PrepareResult::kOk) {
      os_memory::unreserve(fresh, bytes);
      return false;
    }
    if (size_ != 0) memcpy(fresh, data_, size_ * sizeof(T));
    if (data_ != nullptr) os_memory::unreserve(data_, mapped_bytes_);
    data_ = static_cast<T *>(fresh);
    mapped_bytes_ = bytes;
    capacity_ = bytes / sizeof(T);
    return true;
  }

 private:
  T *data_ = nullptr;
  size_t size_ = 0, capacity_ = 0, mapped_bytes_ = 0;
};

}  // namespace warren::gc
