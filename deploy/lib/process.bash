# Starting, watching and stopping the members' processes. Sourced by dev-cluster.
# shellcheck shell=bash

readonly EXIT_RESET=75 RESETS_MAX=10 POLL_SECONDS=0.05

# The file, like the process, may go while it is being looked at.
recorded_pid() { # FILE
	local pid
	pid=$(cat "$DIR/run/$1" 2>/dev/null) && [[ $pid =~ ^[1-9][0-9]*$ ]] && echo "$pid"
}

process_arguments() { # PID
	{ tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null
}

# Prints the pid of a member that runs. The number in the pid file counts only if that process is this member: same
# program, same configuration file.
member_pid() { # NAME
	local pid exe args
	pid=$(recorded_pid "$1.pid") || return 1
	exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
	[[ ${exe% (deleted)} == "$(realpath -m "$(program_of "$1")")" ]] || return 1
	args=$(process_arguments "$pid") || return 1
	[[ $args == *"$DIR/conf/$1.yaml"* ]] || return 1
	echo "$pid"
}

member_signal() { # SIGNAL NAME
	local pid
	pid=$(member_pid "$2") && kill "-$1" "$pid" 2>/dev/null
}

# running, paused, outdated (runs, but was built anew since), restarting, killed or down
member_state() { # NAME
	local pid state
	if ! pid=$(member_pid "$1"); then
		if supervisor_runs "$1"; then
			echo restarting
		elif [[ -e $DIR/run/$1.killed ]]; then
			echo killed
		else
			echo down
		fi
		return
	fi
	state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) || true
	if [[ $state == T ]]; then
		echo paused
	elif [[ $(readlink "/proc/$pid/exe") == *" (deleted)" ]]; then
		echo outdated
	else
		echo running
	fi
}

supervisor_runs() { # NAME
	local pid args
	pid=$(recorded_pid "$1.supervisor") || return 1
	args=$(process_arguments "$pid") || return 1
	[[ $args == *"--dir $DIR supervise $1 "* ]]
}

# Runs one member and stays until it ends. A member that set its data directory aside asks, by its exit code, to be
# started again; after any other end it stays down, so that a test sees what it did.
supervise() { # NAME
	local name=$1 resets=0 code variable launch
	echo $$ >"$DIR/run/$name.supervisor"
	rm -f "$DIR/run/$name.starting"
	# What points clients at a cluster must not configure a daemon.
	for variable in $(compgen -v PARLEY_); do
		unset "$variable"
	done
	readarray -t launch < <(hosts_launch "$name")
	while true; do
		"${launch[@]}" "$(program_of "$name")" --config "$DIR/conf/$name.yaml" &
		echo $! >"$DIR/run/$name.pid"
		code=0
		wait $! || code=$?
		((code == EXIT_RESET && ++resets <= RESETS_MAX)) || break
		echo "dev-cluster: $name set its data directory aside; starting it again"
	done
	rm -f "$DIR/run/$name.pid" "$DIR/run/$name.supervisor"
	((code == 0)) || echo "dev-cluster: $name ended with code $code"
}

member_start() { # NAME
	local program
	program=$(program_of "$1")
	[[ -x $program ]] || fail "$program is not there; build it with: make all"
	rm -f "$DIR/run/$1.killed" "$DIR/run/$1.pid"
	: >"$DIR/run/$1.starting"
	mkdir -p "$DIR/data/$1"
	setsid -f "$ROOT/deploy/dev-cluster" --dir "$DIR" supervise "$1" \
		</dev/null >>"$DIR/log/$1.log" 2>&1 9>&-
	local end=$((SECONDS + 10))
	while [[ -e $DIR/run/$1.starting ]]; do
		((SECONDS < end)) || fail "$1 can't be started; see $DIR/log/$1.log"
		sleep "$POLL_SECONDS"
	done
}

# Waits until the member's process is gone and its supervisor has seen it.
member_wait_gone() { # NAME SECONDS
	local end=$((SECONDS + $2))
	while member_pid "$1" >/dev/null || supervisor_runs "$1"; do
		((SECONDS < end)) || return 1
		sleep "$POLL_SECONDS"
	done
}

members_stop() { # NAME...
	local name
	for name; do
		member_signal TERM "$name" || true
		member_signal CONT "$name" || true
	done
	for name; do
		member_wait_gone "$name" "$STOP_SECONDS" && continue
		echo "$name does not stop; killing it" >&2
		member_signal KILL "$name" || true
		member_wait_gone "$name" 5 || fail "$name can't be killed"
	done
}

ready_text() { # NAME [QUERY]; prints the body, succeeds on 200
	hosts_as_client curl --silent --show-error --noproxy '*' --max-time 2 --fail-with-body --cacert "$DIR/keys/ca.crt" \
		"https://$(public_address "$1"):${HEALTH_OF[$1]}/readyz${2:-}" 2>&1
}

# One line per member, as soon as it is ready; the seconds are those since this program began.
member_wait_ready() { # NAME SECONDS
	local name=$1 end=$((SECONDS + $2)) passed_ms text=""
	until text=$(ready_text "$name" "?verbose"); do
		if ! member_pid "$name" >/dev/null && ! supervisor_runs "$name"; then
			text="it ended"
			end=0
		fi
		if ((SECONDS >= end)); then
			printf '%-16s not ready: %s\n' "$name" "${text%%$'\n'More details*}" >&2
			echo "the end of $DIR/log/$name.log:" >&2
			tail -n 15 "$DIR/log/$name.log" >&2
			return 1
		fi
		sleep "$POLL_SECONDS"
	done
	passed_ms=$(((${EPOCHREALTIME/./} - STARTED_US) / 1000))
	printf '%-16s ready  %d.%d s\n' "$name" $((passed_ms / 1000)) $((passed_ms % 1000 / 100))
}
