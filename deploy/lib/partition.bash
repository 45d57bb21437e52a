# Cutting members off from each other: every member has a loopback address of its own and connects from it, so a rule
# between two addresses is a cut cable. Needs root. Sourced by dev-cluster.
# shellcheck shell=bash

partition_table() {
	if [[ $NET == 127.0.1 ]]; then
		echo parley_dev
	else
		echo "parley_dev_${NET//./_}"
	fi
}

run_nft() {
	if ((EUID == 0)); then
		nft "$@"
	else
		command -v sudo >/dev/null || fail "cutting and healing needs root, and there is no sudo"
		sudo nft "$@"
	fi
}

partition_add() { # "NAME,NAME" "NAME,NAME"
	local a b side_a side_b rules="" table
	table=$(partition_table)
	[[ -z $HOSTS ]] || fail "hosts of their own are cut off by rules in their namespaces"
	command -v nft >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	command -v nft >/dev/null || fail "nft is not there; install nftables"
	IFS=, read -ra side_a <<<"$1"
	IFS=, read -ra side_b <<<"$2"
	for a in "${side_a[@]}"; do
		member_check "$a"
		for b in "${side_b[@]}"; do
			member_check "$b"
			[[ $a != "$b" ]] || usage "$a can't be cut off from itself"
			rules+="add rule inet $table cut ip saddr ${IP_OF[$a]} ip daddr ${IP_OF[$b]} drop"$'\n'
			rules+="add rule inet $table cut ip saddr ${IP_OF[$b]} ip daddr ${IP_OF[$a]} drop"$'\n'
		done
	done
	run_nft -f - <<-NFT
		add table inet $table
		add chain inet $table cut { type filter hook input priority 0; policy accept; }
		$rules
	NFT
	echo "$1 | $2" >>"$DIR/run/partition"
}

partition_heal() {
	[[ -e $DIR/run/partition ]] || return 0
	local table
	table=$(partition_table)
	PATH=$PATH:/usr/sbin:/sbin
	# Added first, so that deleting it can't fail on its absence.
	run_nft -f - <<-NFT
		add table inet $table
		delete table inet $table
	NFT
	rm "$DIR/run/partition"
}
