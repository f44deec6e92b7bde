"""Graphs for `make_batch_dynamic`: the smallest that need each rule, and those not to change."""

OPEN = {"h": 4, "w": 5, "side": 224}  # sizes for dimensions that are dynamic in a case

BAKED = {
    "reshape to (1, -1)": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,-1}> { y = Reshape(x, s) }""",
    "reshape that flattens": """<ir_version: 8, opset_import: ["": 21]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,6}> { y = Reshape<allowzero=1>(x, s) }""",
    "heads merged into the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4] x) => (float[1,3,4] y)
        <int64[4] split = {1,3,2,2}, int64[3] heads = {2,3,2}, int64[4] four = {1,2,3,2},
         int64[3] merge = {1,3,4}>
        { a = Reshape(x, split)
          b = Transpose<perm=[0,2,1,3]>(a)
          q = Reshape(b, heads)
          k = Transpose<perm=[0,2,1]>(q)
          w = MatMul(q, k)
          v = MatMul(w, q)
          c = Reshape(v, four)
          d = Transpose<perm=[0,2,1,3]>(c)
          y = Reshape(d, merge) }""",
    "tokens before the batch, then merged with it": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4] x) => (float[1,3,4] y)
        <int64[3] heads = {3,2,2}, int64[4] four = {1,2,3,2}, int64[2] rows = {3,4},
         int64[3] tokens = {3,1,4}, float[4,4] w = {1,2,3,4,0,1,-2,1,3,1,0,2,-1,1,1,2}>
        { t = Transpose<perm=[1,0,2]>(x)
          q = Reshape(t, heads)
          r = Transpose<perm=[1,0,2]>(q)
          k = Transpose<perm=[0,2,1]>(r)
          p = MatMul(r, k)
          v = MatMul(p, r)
          u = Reshape(v, four)
          l = Transpose<perm=[2,0,1,3]>(u)
          f = Reshape(l, rows)
          h = Gemm(f, w)
          o = Reshape(h, tokens)
          y = Transpose<perm=[1,0,2]>(o) }""",
    "windows merged into the batch, and their mask": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4,4,1] x) => (float[1,4,4,1] y)
        <int64[6] cut = {1,2,2,2,2,1}, int64[3] windows = {4,4,1}, int64[3] whole = {1,4,4},
         float[4,4,1] mask = {1,2,3,4,5,6,7,8,1,3,5,7,2,4,6,8}, int64[4] picture = {1,4,4,1}>
        { a = Reshape(x, cut)
          b = Transpose<perm=[0,1,3,2,4,5]>(a)
          w = Reshape(b, windows)
          m = Mul(w, mask)
          s = Softmax<axis=1>(m)
          c = Reshape(s, cut)
          d = Transpose<perm=[0,1,3,2,4,5]>(c)
          y = Reshape(d, picture) }""",
    "a constant stack of matrices beside the windows": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,2] x) => (float[2,1,2] y)
        <int64[3] windows = {2,1,2}, float[2,2,2] w = {1,2,3,4,5,6,7,9}>
        { a = Reshape(x, windows) y = MatMul(a, w) }""",
    "matrix product of as many features as windows": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,2] x) => (float[2,2] y)
        <int64[2] windows = {2,2}, float[2,2] w = {1,2,3,4}>
        { a = Reshape(x, windows) y = MatMul(a, w) }""",
    "two dimensions of 1, the second for the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,1,6] y)
        <int64[1] front = {0}, int64[3] s = {1,1,6}>
        { u = Unsqueeze(x, front) r = Reshape(u, s) y = Transpose<perm=[1,0,2]>(r) }""",
    "class token": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,4,2] y)
        <float[1,1,2] token = {7,8}> { y = Concat<axis=1>(token, x) }""",
    "class token expanded to a batch of 1": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,4,2] y)
        <float[1,1,2] token = {7,8}, int64[3] s = {1,1,2}>
        { t = Expand(token, s) y = Concat<axis=-2>(x, t) }""",
    "class token made of the shape": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,4,2] y)
        <int64[2] ones = {1,1}>
        { c = Shape<start=2>(x)
          s = Concat<axis=0>(ones, c)
          t = ConstantOfShape(s)
          y = Concat<axis=1>(t, x) }""",
    "expand that states the merged batch": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[2,5,3] y)
        <int64[3] windows = {2,1,3}, int64[3] s = {2,5,3}>
        { a = Reshape(x, windows) y = Expand(a, s) }""",
    "resize to sizes": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,1,2,2] x) => (float[1,1,4,4] y)
        <int64[4] sizes = {1,1,4,4}> { y = Resize<mode="linear">(x, , , sizes) }""",
    "slice of the whole batch, as inputs": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,2] y)
        <int32[2] starts = {0,1}, int32[2] ends = {1,3}, int32[2] axes = {0,1}>
        { y = Slice(x, starts, ends, axes) }""",
    "slice of the whole batch, as attributes": """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,4] x) => (float[1,2] y)
        { y = Slice<starts=[0,1], ends=[1,3]>(x) }""",
    "flatten from the first axis": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[1,6] y) { y = Flatten<axis=0>(x) }""",
    "strided view of the flat tensor": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,3,2] y)
        <int64[1] flat = {-1}, int64[1,3,2] view = {0,3,1,4,2,-1}>
        { a = Reshape(x, flat) y = Gather(a, view) }""",
    "first of the batch, kept as a batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[1,2] y) <int64[1] i = {0}> { y = Gather<axis=0>(x, i) }""",
    "gather elements": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4] x) => (float[1,2] y)
        <int64[1,2] i = {3,1}> { y = GatherElements<axis=1>(x, i) }""",
    "sampling grid": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,1,3,3] x) => (float[1,1,1,2] y)
        <float[1,1,2,2] grid = {-0.5,0.2,0.7,-0.1}> { y = GridSample(x, grid) }""",
    "scatter elements": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4] x) => (float[1,4] y) <int64[1,2] i = {3,1}, float[1,2] u = {5,6}>
        { y = ScatterElements<axis=1>(x, i, u) }""",
    "initial state of an RNN": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,3,1,1] y)
        <float[1,1,2] w = {1,-1}, float[1,1,1] r = {0.5}, float[1,1,1] h = {0.3}>
        { t = Transpose<perm=[1,0,2]>(x)
          n = RNN<hidden_size=1>(t, w, r, , , h)
          y = Transpose<perm=[2,0,1,3]>(n) }""",
    "lengths and initial state of a GRU": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,3,1,1] y)
        <float[1,3,2] w = {1,-1,2,0,1,1}, float[1,3,1] r = {0.5,0.2,-0.3}, int32[1] n = {2},
         float[1,1,1] h = {0.3}>
        { t = Transpose<perm=[1,0,2]>(x)
          o = GRU<hidden_size=1>(t, w, r, , n, h)
          y = Transpose<perm=[2,0,1,3]>(o) }""",
    "both initial states of an LSTM": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,3,1,1] y)
        <float[1,4,2] w = {1,-1,2,0,1,1,0,1}, float[1,4,1] r = {0.5,0.2,-0.3,1},
         float[1,1,1] h = {0.3}, float[1,1,1] c = {-0.3}>
        { t = Transpose<perm=[1,0,2]>(x)
          o = LSTM<hidden_size=1>(t, w, r, , , h, c)
          y = Transpose<perm=[2,0,1,3]>(o) }""",
    "two inputs": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x, float[1,6] z) => (float[1,6] y)
        <int64[2] s = {1,6}> { a = Reshape(x, s) y = Add(a, z) }""",
    "constants in nodes, weights among the inputs": """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,2,3] x, float[6,2] w) => (float[1,2] y)
        <float[6,2] w = {1,2,3,4,5,6,1,3,5,2,4,6}>
        { s = Constant<value = int64[2] {1,6}>() a = Reshape(x, s) y = MatMul(a, w) }""",
    "shape computed from constants": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[1] one = {1}, int64 two = {2}, int64 three = {3}, int64[1] zero = {0}>
        { p = Mul(two, three)
          u = Unsqueeze(p, zero)
          s = Concat<axis=0>(one, u)
          y = Reshape(x, s) }""",
    "declared dynamic": """<ir_version: 8, opset_import: ["": 13]>
        g (float[n,2,3] x) => (float[n,6] y) <int64[2] s = {1,6}> { y = Reshape(x, s) }""",
    "pictures of any size, one size left to infer": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,3,cells] y)
        <int64[3] s = {1,3,-1}> { y = Reshape<allowzero=1>(x, s) }""",
    "pictures of any size, one size left to infer, older": """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,3,h,w] x) => (float[1,3,cells] y)
        { s = Constant<value = int64[3] {1,3,-1}>() y = Reshape(x, s) }""",
    "pictures of any size, shape computed": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,h,w,3] y)
        <int64[1] one = {1}, int64[1] three = {3}, int64[4] picture = {1,0,0,0}>
        { t = Transpose<perm=[0,2,3,1]>(x)
          d = Shape<start=1, end=3>(t)
          s = Concat<axis=0>(one, d, three)
          n = Neg(t)
          y = Reshape(n, s) }""",
    "pictures of any size, channels merged into the batch": """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[3,cells] y)
        <int64[1] three = {3}, int64[1] zero = {0}>
        { d = Shape<start=2>(x)
          p = ReduceProd<axes=[0], keepdims=1>(d)
          s = Concat<axis=0>(three, p)
          y = Reshape(x, s) }""",
    "pictures of one size, declared as any": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,1,side,side] x) => (float[2,cells] y)
        <int64[4] grid = {1,1,224,224}, int64[2] halves = {2,-1}>
        { p = ConstantOfShape(grid) a = Add(x, p) y = Reshape(a, halves) }""",
    "pictures of any size, resized to each other": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,3,h,w] y)
        <int64[2] front = {1,3}>
        { d = Shape<start=2>(x)
          sizes = Concat<axis=0>(front, d)
          p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)
          y = Resize<mode="nearest">(p, , , sizes) }""",
    "inside and behind a branch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <bool c = {1}, int64[2] s = {1,6}>
        { h = If(c) <then_branch = a () => (float[1,2,3] p) { p = Relu(x) },
                     else_branch = b () => (float[1,2,3] q) { q = Neg(x) }>
          y = Reshape(h, s) }""",
    "operators that only ONNX Runtime knows": """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,1,2,2] x) => (float[1,4] y)
        <float[1,1,1,1] w = {2}, int64[2] s = {1,4}>
        { a = com.microsoft.FusedConv<activation="Relu", kernel_shape=[1,1]>(x, w)
          b = com.microsoft.QuickGelu<alpha=1.7>(a)
          y = Reshape(b, s) }""",
    "quantized class token and positions": """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,2,3] x) => (float[1,9] y)
        <float scale = {0.1}, uint8 zero = {128}, uint8[1,1,3] token = {130,140,150},
         uint8[1,3,3] positions = {121,122,123,124,125,126,127,128,129}, int64[2] s = {1,9}>
        { q = QuantizeLinear(x, scale, zero)
          c = com.microsoft.QLinearConcat<axis=1>(scale, zero, token, scale, zero, q, scale, zero)
          a = com.microsoft.QLinearAdd(c, scale, zero, positions, scale, zero, scale, zero)
          f = Reshape(a, s)
          y = DequantizeLinear(f, scale, zero) }""",
    "comparisons without a shape function of their own": """<ir_version: 6, opset_import: ["": 12]>
        g (float[1,2,3] x) => (float[1,6] y)
        <float zero = {0}, float one = {1}, int64[2] s = {1,6}>
        { low = GreaterOrEqual(x, zero)
          high = LessOrEqual(x, one)
          a = Where(low, x, zero)
          b = Where(high, a, one)
          y = Reshape(b, s) }""",
    "group normalization": """<ir_version: 10, opset_import: ["": 21]>
        g (float[1,2,2] x) => (float[1,4] y)
        <float[2] scale = {1,2}, float[2] bias = {3,4}, int64[2] s = {1,4}>
        { n = GroupNormalization<num_groups=2>(x, scale, bias) y = Reshape(n, s) }""",
}

# Graphs that take any batch without a change.
FREE = {
    "shape that follows the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[1] rest = {-1}, float[1,2,3] bias = {1,2,3,4,5,6}>
        { a = Add(x, bias) n = Shape<end=1>(a) s = Concat<axis=0>(n, rest) y = Reshape(a, s) }""",
    "batch merged into the tokens by -1": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4] x) => (float[1,3,2,2] y)
        <int64[3] rows = {-1,2,2}, int64[4] back = {3,-1,2,2}>
        { t = Transpose<perm=[1,0,2]>(x)
          r = Reshape(t, rows)
          n = Neg(r)
          b = Reshape(n, back)
          y = Transpose<perm=[1,0,2,3]>(b) }""",
    "constant made for the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[1,3] y)
        <int64[1] one = {1}>
        { n = Shape<end=1>(x)
          s = Concat<axis=0>(n, one)
          z = ConstantOfShape(s)
          y = Concat<axis=1>(z, x) }""",
    "constant that grows in two ways": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[1,1] y)
        <int64[1] one = {1}>
        { n = Shape<end=1>(x)
          s = Concat<axis=0>(n, n)
          z = ConstantOfShape(s)
          c = Concat<axis=1>(z, x)
          y = ReduceSum(c, one) }""",
    "resize to sizes that follow the batch": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,1,2,2] x) => (float[1,1,4,4] y)
        <int64[1] one = {1}, int64[1] zero = {0}, int64[2] four = {4,4}>
        { d = Shape(x)
          n = Gather(d, zero)
          sizes = Concat<axis=0>(n, one, four)
          y = Resize<mode="linear">(x, , , sizes) }""",
    "resize of some axes": """<ir_version: 8, opset_import: ["": 18]>
        g (float[1,1,2,2] x) => (float[1,1,1,4] y)
        <int64[2] sizes = {1,4}> { y = Resize<mode="linear", axes=[2,3]>(x, , , sizes) }""",
    "slice to the end": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,2] y)
        <int64[2] starts = {0,1}, int64[2] ends = {9223372036854775807,3}>
        { y = Slice(x, starts, ends) }""",
    "empty tensors": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,4] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
        { e = Slice(x, zero, zero, one)
          t = Transpose(e)
          u = Unsqueeze(t, two)
          v = Transpose<perm=[1,0,2]>(u)
          w = Squeeze(v, two)
          y = Concat<axis=1>(w, x) }""",
}

# No known rewrite of one node makes the result of each sample independent of the others.
HOPELESS = {
    "kernels computed from the picture": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3,3] x) => (float[1,1,3,3] y)
        { k = GlobalAveragePool(x) y = Conv(x, k) }""",
    "first of the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[3] y) <int64 i = {0}> { y = Gather<axis=0>(x, i) }""",
    "what was computed from the first of the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[1,6] y)
        <int64 i = {0}, int64[2] s = {1,3}>
        { f = Gather<axis=0>(x, i) r = Reshape(f, s) y = Concat<axis=1>(r, x) }""",
    "the same in a branch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[1,6] y)
        <bool c = {1}, int64 i = {0}, int64[2] s = {1,3}>
        { f = If(c) <then_branch = a () => (p) { p = Gather<axis=0>(x, i) },
                     else_branch = b () => (q) { n = Neg(x) q = Gather<axis=0>(n, i) }>
          r = Reshape(f, s)
          y = Concat<axis=1>(r, x) }""",
    "statistics over everything": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[1,3] y) { m = ReduceMean<keepdims=1>(x) y = Sub(x, m) }""",
    "batch broadcast to a constant": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[2,2] y) <float[2,2] w = {1,2,3,4}> { y = Add(x, w) }""",
    "batch expanded": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[4,2] y) <int64[2] s = {4,2}> { y = Expand(x, s) }""",
    "constant beside a batch that was merged into the tokens": """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[3,2] y)
        <int64[2] s = {-1,2}, float[3,2] w = {1,2,3,4,5,6}>
        { t = Transpose<perm=[1,0,2]>(x) r = Reshape(t, s) y = Add(r, w) }""",
    "elements picked from a batch that was merged into the tokens": """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,2,2] y)
        <int64[2] s = {-1,2}, int64[1,2] i = {2,0}>
        { t = Transpose<perm=[1,0,2]>(x) r = Reshape(t, s) y = Gather(r, i) }""",
    "elements picked without a place for the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,6] x) => (float[2,2] y)
        <int64[1] flat = {-1}, int64[2,2] i = {5,0,4,1}>
        { a = Reshape(x, flat) y = Gather(a, i) }""",
    "elements picked from pictures of any size": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,h,w] x) => (float[1,2] y)
        <int64[1] flat = {-1}, int64[1,2] i = {5,0}> { a = Reshape(x, flat) y = Gather(a, i) }""",
    "some of the windows": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,2] y)
        <int64[2] s = {-1,2}, int64[1] zero = {0}, int64[1] one = {1}>
        { w = Reshape(x, s) y = Slice(w, zero, one) }""",
    "all windows but one": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,2] y)
        <int64[2] s = {-1,2}, int64[1] one = {1}, int64[1] two = {2}>
        { w = Reshape(x, s) y = Slice(w, one, two) }""",
    "an operator of unknown shape": """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,6}> { a = com.microsoft.Trilu(x) y = Reshape(a, s) }""",
}
