/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* NETWORK_CONNECTION_*: TCP over IPv4 and IPv6. */
#include "task.h"

#define AF_INET 2
#define AF_INET6 10
#define TCP_LISTEN 10

INLINE void send_net(u32 type, struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct tcp_sock *tp = (void *)sk;
	struct net_sample *s;

	if (family != AF_INET && family != AF_INET6)
		return;
	if (is_self())
		return;
	s = reserve(type, sizeof(*s));
	if (!s)
		return;
	fill_header(&s->h, type, current_task());
	s->family = family;
	s->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	s->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	s->dport = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if (!BIG_ENDIAN)
		s->dport = __builtin_bswap16(s->dport);
	s->pad = 0;
	if (family == AF_INET) {
		bpf_core_read(s->saddr, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(s->daddr, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(s->saddr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(s->daddr, 16, &sk->__sk_common.skc_v6_daddr);
	}
	s->sent = BPF_CORE_READ(tp, bytes_sent);
	s->received = BPF_CORE_READ(tp, bytes_received);
	submit(s);
}

/* Both families pass here with their ports chosen, before the first packet:
 * so an attempt is told before the accept it causes. */
INLINE int on_tcp_connect(u64 *ctx, struct call *c)
{
	send_net(EVENT_NET_ATTEMPTED, (void *)ARG(0));
	return 0;
}
PROBE_ENTRY(tcp_connect)

INLINE int on_inet_csk_accept(u64 *ctx, struct call *c)
{
	struct sock *sk = (void *)RET(layout.accept_args);

	if (sk)
		send_net(EVENT_NET_ACCEPTED, sk);
	return 0;
}
PROBE_EXIT(inet_csk_accept)

INLINE int on_tcp_close(u64 *ctx, struct call *c)
{
	struct sock *sk = (void *)ARG(0);

	/* A listener and a socket that was never connected have no connection. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN ||
	    BPF_CORE_READ(sk, __sk_common.skc_dport) == 0)
		return 0;
	send_net(EVENT_NET_CLOSED, sk);
	return 0;
}
PROBE_ENTRY(tcp_close)
