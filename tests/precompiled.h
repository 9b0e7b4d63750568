// What every test includes, compiled once (meson.build, `precompiled`). Invariant: nothing of warren's, whose headers change.
#include <gtest/gtest.h>
