// Claim: symbolic algebra: expressions of small shared nodes are differentiated, substituted and simplified; polynomials are multiplied.
// Held constant: 1500 expressions up to 9 levels deep in four variables, each differentiated twice; one of eight first derivatives is kept
// to the end; then 12 polynomials of up to 5 terms to the 24th power, with coefficients of vectors of 32-bit digits. Unit: one expression
// or polynomial. Run by bench/run.py.
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kExpressions = 1500;
constexpr int kDepth = 9;
constexpr int kOneKeptOf = 8;
constexpr int kPolynomials = 12;
constexpr int kTerms = 5;
constexpr int kPower = 24;
constexpr int kNumberLimit = 10'007;
constexpr std::uint64_t kPrime = 1'000'000'007;

workload::Random generator(0x2468ACE013579BDFULL);

std::uint64_t draw() { return generator.next(); }

// A number of any size, the lowest digit first.
struct Big {
  std::vector<std::uint32_t> digits;

  Big(std::uint32_t value = 0) {
    if (value != 0) digits.push_back(value);
  }

  friend Big operator+(const Big &a, const Big &b) {
    Big sum;
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < a.digits.size() || i < b.digits.size() || carry != 0; ++i) {
      carry += (i < a.digits.size() ? a.digits[i] : 0) + std::uint64_t{i < b.digits.size() ? b.digits[i] : 0};
      sum.digits.push_back(static_cast<std::uint32_t>(carry));
      carry >>= 32;
    }
    return sum;
  }

  friend Big operator*(const Big &a, const Big &b) {
    Big product;
    if (a.digits.empty() || b.digits.empty()) return product;
    product.digits.assign(a.digits.size() + b.digits.size(), 0);
    for (std::size_t i = 0; i < a.digits.size(); ++i) {
      std::uint64_t carry = 0;
      for (std::size_t k = 0; k < b.digits.size() || carry != 0; ++k) {
        carry += product.digits[i + k] + std::uint64_t{a.digits[i]} * (k < b.digits.size() ? b.digits[k] : 0);
        product.digits[i + k] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
    }
    while (!product.digits.empty() && product.digits.back() == 0) product.digits.pop_back();
    return product;
  }
};

enum Kind : std::uint8_t { kNumber, kVariable, kSum, kProduct, kPowerOf };

struct Node;
using Expression = std::shared_ptr<const Node>;

struct Node {
  Kind kind;
  int number;  // the value, the variable's index or the exponent
  Expression left;
  Expression right;
};

Expression make(Kind kind, int number, Expression left = nullptr, Expression right = nullptr) {
  return std::make_shared<const Node>(Node{kind, number, std::move(left), std::move(right)});
}

bool is(const Expression &expression, int value) { return expression->kind == kNumber && expression->number == value; }

Expression add(Expression a, Expression b) {
  if (is(a, 0)) return b;
  if (is(b, 0)) return a;
  if (a->kind == kNumber && b->kind == kNumber) return make(kNumber, (a->number + b->number) % kNumberLimit);
  return make(kSum, 0, std::move(a), std::move(b));
}

Expression multiply(Expression a, Expression b) {
  if (is(a, 0) || is(b, 0)) return make(kNumber, 0);
  if (is(a, 1)) return b;
  if (is(b, 1)) return a;
  if (a->kind == kNumber && b->kind == kNumber) {
    return make(kNumber, static_cast<int>(std::int64_t{a->number} * b->number % kNumberLimit));
  }
  return make(kProduct, 0, std::move(a), std::move(b));
}

Expression power(Expression base, int exponent) {
  return exponent == 0 ? make(kNumber, 1) : exponent == 1 ? base : make(kPowerOf, exponent, std::move(base));
}

Expression make_random(int depth) {
  if (depth == 0) {
    if (draw() % 3 != 0) return make(kVariable, static_cast<int>(draw() % 4));
    return make(kNumber, static_cast<int>(1 + draw() % 9));
  }
  const std::uint64_t kind = draw() % 5;
  if (kind == 4) {
    const int exponent = static_cast<int>(2 + draw() % 2);
    return power(make_random(depth - 1), exponent);
  }
  Expression right = make_random(depth - 1);
  Expression left = make_random(depth - 1);
  if (kind < 2) return add(std::move(left), std::move(right));
  return multiply(std::move(left), std::move(right));
}

Expression differentiate(const Expression &e, int variable) {
  switch (e->kind) {
    case kNumber:
      return make(kNumber, 0);
    case kVariable:
      return make(kNumber, e->number == variable);
    case kSum:
      return add(differentiate(e->left, variable), differentiate(e->right, variable));
    case kProduct:
      return add(multiply(differentiate(e->left, variable), e->right), multiply(e->left, differentiate(e->right, variable)));
    default:
      return multiply(multiply(make(kNumber, e->number), power(e->left, e->number - 1)), differentiate(e->left, variable));
  }
}

// Builds the whole tree anew.
Expression substitute(const Expression &e, int variable, const Expression &by) {
  switch (e->kind) {
    case kNumber:
      return make(kNumber, e->number);
    case kVariable:
      return e->number == variable ? by : make(kVariable, e->number);
    case kSum:
      return add(substitute(e->left, variable, by), substitute(e->right, variable, by));
    case kProduct:
      return multiply(substitute(e->left, variable, by), substitute(e->right, variable, by));
    default:
      return power(substitute(e->left, variable, by), e->number);
  }
}

std::uint64_t evaluate(const Expression &e, const std::uint64_t *values) {
  switch (e->kind) {
    case kNumber:
      return static_cast<std::uint64_t>(e->number);
    case kVariable:
      return values[e->number];
    case kSum:
      return (evaluate(e->left, values) + evaluate(e->right, values)) % kPrime;
    case kProduct:
      return evaluate(e->left, values) * evaluate(e->right, values) % kPrime;
    default: {
      std::uint64_t result = 1;
      const std::uint64_t base = evaluate(e->left, values);
      for (int i = 0; i < e->number; ++i) result = result * base % kPrime;
      return result;
    }
  }
}

using Polynomial = std::map<int, Big>;  // the coefficients, by exponent

Polynomial multiply(const Polynomial &a, const Polynomial &b) {
  Polynomial product;
  for (const auto &x : a) {
    for (const auto &y : b) {
      Big &coefficient = product[x.first + y.first];
      coefficient = coefficient + x.second * y.second;
    }
  }
  return product;
}

}  // namespace

int main() {
  constexpr std::uint64_t kValues[4] = {3, 14, 159, 2653};
  std::uint64_t checksum = 0;
  std::vector<Expression> kept;
  for (int i = 0; i < kExpressions; ++i) {
    Expression expression = make_random(kDepth);
    Expression first = differentiate(expression, static_cast<int>(draw() % 4));
    Expression second = differentiate(first, static_cast<int>(draw() % 4));
    Expression substituted = substitute(second, static_cast<int>(draw() % 4), add(make(kVariable, 1), make(kNumber, 5)));
    checksum = checksum * 31 + evaluate(expression, kValues) + evaluate(first, kValues) + evaluate(substituted, kValues);
    if (i % kOneKeptOf == 0) kept.push_back(first);
  }
  for (const auto &expression : kept) checksum = checksum * 7 + evaluate(expression, kValues);
  for (int i = 0; i < kPolynomials; ++i) {
    Polynomial base;
    Polynomial result;
    for (int k = 0; k < kTerms; ++k) {
      const auto coefficient = static_cast<std::uint32_t>(draw() >> 40) + 1;
      base[static_cast<int>(draw() % 12)] = Big(coefficient);
    }
    result[0] = Big(1);
    for (int k = 0; k < kPower; ++k) result = multiply(result, base);
    for (const auto &[exponent, coefficient] : result) {
      for (const std::uint32_t digit : coefficient.digits) checksum = checksum * 31 + digit;
    }
  }
  workload::report(kExpressions + kPolynomials, checksum);
}
