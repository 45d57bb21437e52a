# Who is in the development cluster: names, ids, addresses and ports, all derived from a few numbers that are kept in
# $DIR/topology. Sourced by dev-cluster.
# shellcheck shell=bash

# Port offsets from --port-base. A hundred ports apart, two clusters don't touch.
readonly OFFSET_BUS=-1343 OFFSET_COUCH=-1459 OFFSET_HEALTH=1000
readonly GATEWAY_PORTS=10 MEMBERS_MAX=19

NODES=3 GATEWAYS=2 ARBITERS=1 PORT_BASE=8443 NET=127.0.1 HOSTS=
BUILD=$ROOT/build
SETTINGS=()
NAMES=()
declare -A ROLE_OF=() ID_OF=() IP_OF=() HEALTH_OF=() API_OF=() COUCH_OF=()

number_check() { # OPTION VALUE MIN MAX
	[[ $2 =~ ^[1-9]?[0-9]{1,6}$ && $2 -ge $3 && $2 -le $4 ]] || usage "--$1 must be a number from $3 to $4"
}

# A cluster grows, but a member that holds data is not dropped by leaving it out.
member_count_min() { # nodes, gateways or arbiters
	local saved=0
	[[ ! -f $DIR/topology ]] || saved=$(sed -n "s/^$1=//p" "$DIR/topology")
	echo "$saved"
}

setting_set() { # ROLE.KEY=VALUE; of one key the last holds: no daemon takes it twice
	local setting kept=()
	for setting in "${SETTINGS[@]}"; do
		[[ $setting == "${1%%=*}="* ]] || kept+=("$setting")
	done
	SETTINGS=("${kept[@]}" "$1")
}

topology_set() { # KEY VALUE
	local key=$1 value=$2
	case $key in
	nodes | gateways | arbiters)
		number_check "$key" "$value" "$(member_count_min "$key")" "$MEMBERS_MAX"
		printf -v "${key^^}" %d "$value"
		;;
	port_base)
		number_check port-base "$value" 3000 60000
		PORT_BASE=$value
		;;
	net)
		[[ $value =~ ^(127|10)\.[0-9]+\.[0-9]+$ ]] || usage "--net must look like 127.0.1"
		NET=$value
		;;
	hosts)
		[[ $value =~ ^[a-z][a-z0-9]{0,15}$ ]] || usage "--hosts must be a short name"
		HOSTS=$value
		;;
	build) BUILD=$(realpath -m "$value") ;;
	set)
		[[ $value =~ ^(coordinator|storage|gateway|arbiter)\.[a-z_]+=[^\"\\]*$ ]] || usage "--set ROLE.KEY=VALUE"
		setting_set "$value"
		;;
	esac
}

topology_load() {
	local key value
	[[ -f $DIR/topology ]] || return 0
	while IFS='=' read -r key value; do
		topology_set "$key" "$value"
	done <"$DIR/topology"
}

topology_save() {
	{
		printf '%s\n' "nodes=$NODES" "gateways=$GATEWAYS" "arbiters=$ARBITERS" "port_base=$PORT_BASE" \
			"net=$NET" "build=$BUILD"
		[[ -z $HOSTS ]] || echo "hosts=$HOSTS"
		((${#SETTINGS[@]} == 0)) || printf 'set=%s\n' "${SETTINGS[@]}"
	} >"$DIR/topology.new"
	mv "$DIR/topology.new" "$DIR/topology"
}

member_add() { # NAME ROLE ID
	NAMES+=("$1")
	ROLE_OF[$1]=$2
	ID_OF[$1]=$3
	IP_OF[$1]=$NET.$3
	HEALTH_OF[$1]=$((PORT_BASE + OFFSET_HEALTH + $3))
}

# In the order in which they are started; `down` goes the other way.
topology_expand() {
	local i
	member_add coordinator-1 coordinator 1
	for ((i = 1; i <= NODES; i++)); do
		member_add "storage-$i" storage $((10 + i))
	done
	for ((i = 1; i <= ARBITERS; i++)); do
		member_add "arbiter-$i" arbiter $((50 + i))
	done
	for ((i = 1; i <= GATEWAYS; i++)); do
		member_add "gateway-$i" gateway $((30 + i))
		API_OF[gateway-$i]=$((PORT_BASE + (i - 1) * GATEWAY_PORTS))
		COUCH_OF[gateway-$i]=$((PORT_BASE + OFFSET_COUCH + (i - 1) * GATEWAY_PORTS))
	done
}

member_check() { # NAME
	[[ -n ${ROLE_OF[$1]:-} ]] || usage "there is no member \"$1\"; there are: ${NAMES[*]}"
}

program_of() { # NAME
	local role=${ROLE_OF[$1]}
	[[ $role != storage ]] || role=storage-node
	printf '%s/parley-%s' "$BUILD" "$role"
}

# Keys, certificates and the member list. Prints nothing.
write_keys() {
	local name spec specs=()
	for name in "${NAMES[@]}"; do
		spec="id=${ID_OF[$name]},name=$name,role=${ROLE_OF[$name]},source=${IP_OF[$name]}"
		case ${ROLE_OF[$name]} in
		coordinator | storage)
			spec+=",address=tcp://${IP_OF[$name]}:$((PORT_BASE + OFFSET_BUS + ID_OF[$name]))"
			;;
		esac
		specs+=(--member "$spec")
		[[ -z $HOSTS ]] || specs+=(--host "${IP_OF[$name]}")
	done
	PARLEY_KEYS=${PARLEY_KEYS:-$BUILD/parley-keys} "$ROOT/deploy/make-keys" "$DIR/keys" "${specs[@]}"
}

# Where clients and operators find a member.
public_address() { # NAME
	if [[ -n $HOSTS ]]; then
		echo "${IP_OF[$1]}"
	else
		echo 127.0.0.1
	fi
}

write_config() { # NAME
	local name=$1 role=${ROLE_OF[$1]} setting
	{
		cat <<-YAML
			name: "$name"
			members_file: "$DIR/keys/members.yaml"
			key_file: "$DIR/keys/$name.key"
			tls_cert: "$DIR/keys/server.crt"
			tls_key: "$DIR/keys/server.key"
			health_address: "$(public_address "$name")"
			health_port: "${HEALTH_OF[$name]}"
		YAML
		case $role in
		coordinator | storage) echo "data_dir: \"$DIR/data/$name\"" ;;
		gateway)
			printf '%s: "%s"\n' client_ca "$DIR/keys/ca.crt" \
				api_address "$(public_address "$name")" api_port "${API_OF[$name]}" \
				couch_address "$(public_address "$name")" couch_port "${COUCH_OF[$name]}" \
				couch_secret "$DIR/keys/couch.secret"
			;;
		esac
		for setting in "${SETTINGS[@]}"; do
			[[ $setting != "$role."* ]] || {
				setting=${setting#*.}
				echo "${setting%%=*}: \"${setting#*=}\""
			}
		done
	} >"$DIR/conf/$name.yaml.new"
	mv "$DIR/conf/$name.yaml.new" "$DIR/conf/$name.yaml"
}

# What a client needs to know, as a shell file.
write_env() {
	local i host urls=()
	for ((i = 1; i <= GATEWAYS; i++)); do
		host=localhost
		[[ -z $HOSTS ]] || host=${IP_OF[gateway-$i]}
		urls+=("https://$host:${API_OF[gateway-$i]}")
	done
	{
		echo "# Points clients at this cluster: source this file."
		printf 'export %s=%q\n' PARLEY_URL "${urls[0]:-}" PARLEY_COUCH_URL \
			"https://localhost:${COUCH_OF[gateway-1]:-0}" PARLEY_CA "$DIR/keys/ca.crt" \
			PARLEY_CERT "$DIR/keys/admin.crt" PARLEY_KEY "$DIR/keys/admin.key"
		printf 'export PARLEY_URLS="%s"\n' "${urls[*]}"
	} >"$DIR/env.new"
	mv "$DIR/env.new" "$DIR/env"
}
