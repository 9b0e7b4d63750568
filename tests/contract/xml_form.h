// Whether a text is well-formed XML of the simple kind that malloc_info writes: one root element, nested tags,
// quoted attributes, nothing else. Used by introspection cases. Invariant: nothing here allocates.
#pragma once

#include <cstddef>
#include <cstring>

namespace contract {

class XmlForm {
 public:
  // nullptr when well-formed; else where in `text` it is not.
  static const char *first_error(const char *text) {
    XmlForm form(text);
    bool had_root = false;
    for (form.skip_space(); *form.at_ != '\0'; form.skip_space()) {
      if (form.depth_ == 0 && had_root) return form.at_;
      had_root = true;
      if (!form.element_edge()) return form.at_;
    }
    return form.depth_ == 0 && had_root ? nullptr : form.at_;
  }

 private:
  explicit XmlForm(const char *text) : at_(text) {}

  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("_-.:", c) != nullptr);
  }

  void skip_space() {
    while (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r') ++at_;
  }

  size_t take_name() {
    const char *start = at_;
    while (is_name(*at_)) ++at_;
    return static_cast<size_t>(at_ - start);
  }

  bool take(char c) {
    if (*at_ != c) return false;
    ++at_;
    return true;
  }

  bool attribute() {
    if (take_name() == 0 || !take('=')) return false;
    const char quote = *at_;
    if (quote != '"' && quote != '\'') return false;
    for (++at_; *at_ != quote; ++at_) {
      if (*at_ == '\0' || *at_ == '<' || *at_ == '&') return false;
    }
    return take(quote);
  }

  // One opening, empty or closing tag.
  bool element_edge() {
    if (!take('<')) return false;
    const bool closing = take('/');
    const char *name = at_;
    const size_t length = take_name();
    if (length == 0) return false;
    if (closing) {
      if (depth_ == 0 || open_[depth_ - 1].length != length || memcmp(open_[depth_ - 1].name, name, length) != 0) return false;
      --depth_;
      return take('>');
    }
    for (skip_space(); is_name(*at_); skip_space()) {
      if (!attribute()) return false;
    }
    const bool empty = take('/');
    if (!take('>')) return false;
    if (empty) return true;
    if (depth_ == kMaxDepth) return false;
    open_[depth_++] = {name, length};
    return true;
  }

  static constexpr size_t kMaxDepth = 16;
  struct Tag {
    const char *name;
    size_t length;
  };
  const char *at_;
  Tag open_[kMaxDepth] = {};
  size_t depth_ = 0;
};

}  // namespace contract
