// Four numbers as the halves that tiles of cooperative matrices want: the middle two change places.

uvec2 halves(vec4 quad) {
    return uvec2(packHalf2x16(quad.xzyw.xy), packHalf2x16(quad.xzyw.zw));
}
