# Members as hosts of their own: each in a network namespace, joined by a bridge in one more, where the client lives too.
# Needs root. Sourced by dev-cluster.
# shellcheck shell=bash

readonly HOSTS_CLIENT=254 # last number of the client's address

hosts_space() { # NAME
	echo "$HOSTS-$1"
}

run_ip() {
	PATH=$PATH:/usr/sbin:/sbin ip "$@"
}

hosts_plug_in() { # NAME LAST-NUMBER
	local space
	space=$(hosts_space "$1")
	[[ ! -e /run/netns/$space ]] || return 0
	run_ip netns add "$space"
	run_ip -n "$space" link set lo up
	run_ip -n "$(hosts_space net)" link add "v$2" type veth peer name eth0 netns "$space"
	run_ip -n "$(hosts_space net)" link set "v$2" master bridge up
	run_ip -n "$space" address add "$NET.$2/24" dev eth0
	run_ip -n "$space" link set eth0 up
}

hosts_up() {
	local name
	[[ -n $HOSTS ]] || return 0
	((EUID == 0)) || fail "network namespaces need root"
	[[ $NET == 10.* ]] || usage "--hosts needs a --net like 10.88.1"
	if [[ ! -e /run/netns/$(hosts_space net) ]]; then
		run_ip netns add "$(hosts_space net)"
		run_ip -n "$(hosts_space net)" link add bridge type bridge
		run_ip -n "$(hosts_space net)" link set bridge up
	fi
	hosts_plug_in client "$HOSTS_CLIENT"
	for name in "${NAMES[@]}"; do
		hosts_plug_in "$name" "${ID_OF[$name]}"
	done
}

hosts_down() {
	local name
	[[ -n $HOSTS ]] || return 0
	for name in "${NAMES[@]}" client net; do
		[[ ! -e /run/netns/$(hosts_space "$name") ]] || run_ip netns delete "$(hosts_space "$name")"
	done
}

# Runs a command where clients are.
hosts_as_client() { # COMMAND...
	if [[ -n $HOSTS ]]; then
		run_ip netns exec "$(hosts_space client)" "$@"
	else
		"$@"
	fi
}

# What stands before a member's program, a word per line: its namespace, then what the file launch/NAME says.
hosts_launch() { # NAME
	[[ -z $HOSTS ]] || printf '%s\n' ip netns exec "$(hosts_space "$1")"
	[[ ! -f $DIR/launch/$1 ]] || cat "$DIR/launch/$1"
}
