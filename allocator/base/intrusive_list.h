// A doubly linked list through the members `next` and `prev` of its elements. Never allocates.
// Callers: page_heap and central (spans), the registry of caches. Invariant: an element is in at most
// one list, and whoever owns the list holds its lock.
#pragma once

namespace warren {

template <class T>
class IntrusiveList {
 public:
  bool empty() const { return first_ == nullptr; }
  T *front() const { return first_; }

  void push_front(T *element) {
    element->prev = nullptr;
    element->next = first_;
    if (first_ != nullptr) first_->prev = element;
    first_ = element;
  }

  void remove(T *element) {
    if (element->prev != nullptr) {
      element->prev->next = element->next;
    } else {
      first_ = element->next;
    }
    if (element->next != nullptr) element->next->prev = element->prev;
    element->next = element->prev = nullptr;
  }

  T *pop_front() {
    T *element = first_;
    if (element != nullptr) remove(element);
    return element;
  }

 private:
  T *first_ = nullptr;
};

}  // namespace warren
