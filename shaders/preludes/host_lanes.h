// What lanes of a subgroup do together, by exchange: for every language that is run on a CPU.

template <class T> struct vk_Brought {
    const vkrun_exchange *all;
    bool has(uint lane) const { return lane < all->n && (all->active >> lane & 1u); }
    T of(uint lane) const {
        T value;
        __builtin_memcpy(&value, all->slots[lane], sizeof value);
        return value;
    }
};
template <class T> inline vk_Brought<T> vk_bring(T value, vkrun_site site, int number) {
    return vk_Brought<T>{vkrun_meet(&value, sizeof value, site, number)};
}
template <class T> inline T vk_shuffle(T value, uint lane, vkrun_site site, int number) {
    vk_Brought<T> brought = vk_bring(value, site, number);
    if (!brought.has(lane)) vkrun_fail(site, "a shuffle from a lane that takes no part");
    return brought.of(lane);
}
template <class T, class F> inline T vk_reduce(T value, F both, vkrun_site site, int number) {
    vk_Brought<T> brought = vk_bring(value, site, number);
    bool first = true;
    for (uint lane = 0; lane < brought.all->n; lane++)
        if (brought.has(lane)) value = first ? brought.of(lane) : both(value, brought.of(lane)), first = false;
    return value;
}
inline bool vk_elect(vkrun_site site, int number) {
    return unsigned(__builtin_ctzll(vk_bring(0u, site, number).all->active)) == vkrun_lane % vkrun_subgroup;
}
