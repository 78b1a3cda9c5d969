// The namespace of an instruction-set level: kernels.cpp is compiled once a level, with OT_LEVEL = baseline, v3 or v4,
// and every function of these files lies in a namespace of its own. No standard library: the linker keeps one copy of
// a shared inline function, and it could keep the one that was compiled for AVX-512.
#pragma once

#define OT_CONCAT_(a, b) a##b
#define OT_CONCAT(a, b) OT_CONCAT_(a, b)
#define OT_STRING_(a) #a
#define OT_STRING(a) OT_STRING_(a)
#define OT_LEVEL_NAMESPACE OT_CONCAT(level_, OT_LEVEL)
