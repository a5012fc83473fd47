#version 450
// The workgroups of a dispatch that only some runs take: its grid where they do, else none.
// Grid: one invocation.

layout(local_size_x = 1) in;

layout(std430, binding = 0) readonly buffer Which { int which[]; };
layout(std430, binding = 1) writeonly buffer Grids { uint grids[]; };

layout(push_constant) uniform Args {
    uint which_at, side, grid_at;
    uint grid_x, grid_y, grid_z;
};

void main() {
    bool taken = (which[which_at] != 0) == (side != 0u);
    grids[grid_at] = taken ? grid_x : 0u;
    grids[grid_at + 1u] = taken ? grid_y : 0u;
    grids[grid_at + 2u] = taken ? grid_z : 0u;
}
