# A one-node Kubernetes on loopback: etcd, API server, controllers, scheduler, kubelet, proxy.
# shellcheck shell=bash

KUBE=$LAB/kubernetes # certificates, kubeconfig, etcd's data, the kubelet's folder
API_PORT=16443
ETCD_PORT=12379
LAB_KUBECONFIG=$KUBE/kubeconfig

# find_cluster: sets CLUSTER (a kubeconfig) and CLUSTER_OWNER: lab, there (somebody else's) or none.
find_cluster() {
    CLUSTER=${KUBECONFIG:-$LAB_KUBECONFIG}
    CLUSTER_OWNER=none
    if [ "$CLUSTER" -ef "$LAB_KUBECONFIG" ]; then CLUSTER=$LAB_KUBECONFIG; fi
    if [ "$CLUSTER" != "$LAB_KUBECONFIG" ]; then
        if cluster_answers; then CLUSTER_OWNER=there; fi
    elif lab_cluster_alive && cluster_answers; then
        CLUSTER_OWNER=lab
    fi
}

CLUSTER_DAEMONS=(etcd apiserver controller-manager scheduler kubelet proxy)

lab_cluster_alive() {
    local name
    for name in "${CLUSTER_DAEMONS[@]}"; do
        if ! daemon_alive "$name"; then return 1; fi
    done
}

kube() { "$KUBECTL" --kubeconfig "$CLUSTER" "$@"; }
cluster_answers() { find_kubectl && kube --request-timeout 5s get --raw /readyz; } >/dev/null 2>&1
node_ready() { kube --request-timeout 5s wait --for condition=Ready node/localhost --timeout 0s; } >/dev/null 2>&1

cluster_up() {
    kubectl_up
    find_cluster
    case $CLUSTER_OWNER in
    there) ;;
    lab) node_ready || step "Kubernetes: node ready" wait_for_node ;;
    none)
        [ "$CLUSTER" = "$LAB_KUBECONFIG" ] ||
            die "KUBECONFIG=$CLUSTER names a cluster that does not answer: start it, or unset KUBECONFIG and the lab starts its own"
        start_cluster
        ;;
    esac
    export KUBECONFIG=$CLUSTER
}

start_cluster() {
    need_root "starting a Kubernetes node"
    kubernetes_binaries
    packages etcd:etcd-server openssl:openssl socat:socat iptables:iptables nsenter:util-linux curl:curl
    # A cluster of which nothing runs begins anew: what an earlier one left would only surprise a test.
    if ! daemon_alive etcd && ! daemon_alive apiserver; then step "Kubernetes: clean ground" cluster_down; fi
    step "Kubernetes: API server $(kube_version)" start_control_plane
    step "Kubernetes: node" start_node
}

kube_version() { "$KUBE_BIN/kube-apiserver" --version | sed 's/^Kubernetes v//'; }

# ---- certificates and configuration

make_pki() {
    local temp=$KUBE/pki.tmp
    [ ! -d "$KUBE/pki" ] || return 0
    rm -rf "$temp"
    mkdir -p "$temp"
    cd "$temp"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=slipway-lab -keyout ca.key -out ca.crt
    certificate server "/CN=kube-apiserver" "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc" serverAuth
    certificate kubelet "/CN=localhost" "IP:127.0.0.1,DNS:localhost" serverAuth
    certificate client "/O=system:masters/CN=kube-apiserver" "DNS:localhost" clientAuth
    openssl genrsa -out service-account.key 2048
    openssl rsa -in service-account.key -pubout -out service-account.pub
    openssl rand -hex 24 >token
    echo "$(cat token),admin,admin,system:masters" >tokens.csv
    cd "$KUBE"
    publish "$temp" "$KUBE/pki"
}

# certificate NAME SUBJECT ALTNAMES USAGE
certificate() {
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$3" "$4")
}

write_kubeconfig() {
    cat >"$LAB_KUBECONFIG.tmp" <<YML
apiVersion: v1
kind: Config
current-context: slipway-lab
clusters:
- name: slipway-lab
  cluster:
    server: https://127.0.0.1:$API_PORT
    certificate-authority-data: $(base64 -w0 "$KUBE/pki/ca.crt")
users:
- name: admin
  user:
    token: $(cat "$KUBE/pki/token")
contexts:
- name: slipway-lab
  context: { cluster: slipway-lab, user: admin }
YML
    mv "$LAB_KUBECONFIG.tmp" "$LAB_KUBECONFIG"
}

# No cgroup tree per quality of service, no eviction, no image collection: the node is a guest on a machine that works.
write_node_config() {
    replace_file "$KUBE/kubelet.yaml" <<YML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
tlsCertFile: $KUBE/pki/kubelet.crt
tlsPrivateKeyFile: $KUBE/pki/kubelet.key
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $KUBE/pki/ca.crt } }
authorization: { mode: Webhook }
cgroupDriver: $(docker info --format '{{.CgroupDriver}}')
cgroupsPerQOS: false
enforceNodeAllocatable: []
evictionHard: { memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%" }
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
failSwapOn: false
oomScoreAdj: 0
nodeStatusUpdateFrequency: 2s
registryPullQPS: 0
eventRecordQPS: 0
serializeImagePulls: false
volumePluginDir: $KUBE/plugins
YML
    # NodePorts on loopback only; connection tracking limits are the machine's business.
    replace_file "$KUBE/proxy.yaml" <<YML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: 127.0.0.1
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: localhost
nodePortAddresses: [127.0.0.0/8]
clientConnection: { kubeconfig: $LAB_KUBECONFIG }
iptables: { masqueradeAll: true, minSyncPeriod: 0s }
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
oomScoreAdj: 0
YML
}

# replace_file FILE: from standard input, only when it differs: a proxy ends when its configuration is touched.
replace_file() {
    cat >"$1.tmp"
    if cmp -s "$1.tmp" "$1"; then rm "$1.tmp"; else mv "$1.tmp" "$1"; fi
}

# ---- starting: each part only if it does not run yet

run_part() { # NAME COMMAND…
    daemon_alive "$1" || daemon_start "$@"
}

start_control_plane() {
    mkdir -p "$KUBE"
    chmod 700 "$KUBE"
    make_pki
    [ -s "$LAB_KUBECONFIG" ] || write_kubeconfig
    # a crash of the machine may cost this data, and may: without fsync a start takes a second
    run_part etcd etcd --unsafe-no-fsync --data-dir "$KUBE/etcd" --logger zap --log-level warn \
        --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
        --listen-peer-urls "http://127.0.0.1:$((ETCD_PORT + 1))"
    wait_for 30 etcd curl -sf "http://127.0.0.1:$ETCD_PORT/health"
    run_part apiserver "$KUBE_BIN/kube-apiserver" --etcd-servers "http://127.0.0.1:$ETCD_PORT" \
        --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$API_PORT" --cert-dir "$KUBE/pki" \
        --tls-cert-file "$KUBE/pki/server.crt" --tls-private-key-file "$KUBE/pki/server.key" \
        --client-ca-file "$KUBE/pki/ca.crt" --token-auth-file "$KUBE/pki/tokens.csv" --authorization-mode RBAC \
        --service-account-key-file "$KUBE/pki/service-account.pub" \
        --service-account-signing-key-file "$KUBE/pki/service-account.key" \
        --service-account-issuer https://kubernetes.default.svc --api-audiences https://kubernetes.default.svc \
        --service-cluster-ip-range 10.96.0.0/16 --allow-privileged --disable-admission-plugins ServiceAccount \
        --kubelet-preferred-address-types Hostname --kubelet-certificate-authority "$KUBE/pki/ca.crt" \
        --kubelet-client-certificate "$KUBE/pki/client.crt" --kubelet-client-key "$KUBE/pki/client.key" \
        --endpoint-reconciler-type none
    wait_for 60 apiserver cluster_answers
}

start_node() {
    check_engine_for_node
    note_machine
    write_node_config
    run_part controller-manager "$KUBE_BIN/kube-controller-manager" --kubeconfig "$LAB_KUBECONFIG" --bind-address 127.0.0.1 \
        --service-account-private-key-file "$KUBE/pki/service-account.key" --root-ca-file "$KUBE/pki/ca.crt" \
        --cert-dir "$KUBE/pki" --leader-elect=false --port 0
    run_part scheduler "$KUBE_BIN/kube-scheduler" --kubeconfig "$LAB_KUBECONFIG" --bind-address 127.0.0.1 \
        --cert-dir "$KUBE/pki" --leader-elect=false --port 0
    run_part kubelet "$KUBE_BIN/kubelet" --kubeconfig "$LAB_KUBECONFIG" --config "$KUBE/kubelet.yaml" \
        --container-runtime docker --docker-endpoint "$DOCKER_HOST" --pod-infra-container-image pause:local \
        --hostname-override localhost --network-plugin= --root-dir "$KUBE/kubelet" --cert-dir "$KUBE/pki"
    run_part proxy "$KUBE_BIN/kube-proxy" --config "$KUBE/proxy.yaml"
    wait_for_node
    # a part that dies in its first seconds (an address in use, say) must not pass for one that runs
    local name
    for name in "${CLUSTER_DAEMONS[@]}"; do wait_for 5 "$name" daemon_alive "$name"; done
}

wait_for_node() { wait_for 90 kubelet node_ready; }

# Our own engine rewrites what some kernels refuse; one that was here before is used as it is, if it can serve a kubelet.
check_engine_for_node() {
    docker run --rm --network none --oom-score-adj -998 alpine:3.20 true ||
        die "the Docker Engine at $DOCKER_HOST cannot start containers as a kubelet asks for them: stop it, and the lab starts its own"
}

# ---- stopping

cluster_down() {
    local name
    daemon_stop kubelet
    daemon_stop proxy
    remove_pods
    for name in scheduler controller-manager apiserver etcd; do daemon_stop "$name"; done
    clean_machine
    rm -rf "$KUBE"
}

# The containers of the pods that our kubelet has folders for, and of no other. If our engine died, it has to come back for that.
remove_pods() {
    local folder uid
    find_engine
    for folder in "$KUBE"/kubelet/pods/*/; do
        [ -d "$folder" ] || continue
        if [ "$ENGINE_OWNER" = none ] && [ -e "$LAB/dockerd.pid" ]; then start_engine && find_engine; fi
        uid=$(basename "$folder")
        if [ "$ENGINE_OWNER" != none ]; then
            docker -H "$ENGINE" ps -aq --filter "label=io.kubernetes.pod.uid=$uid" | xargs -r docker -H "$ENGINE" rm -f -v >/dev/null
        fi
        rm -rf /var/log/pods/*_"$uid"
    done
    find /var/log/containers -xtype l -delete 2>/dev/null || true # their links, now leading nowhere
    unmount_below "$KUBE/kubelet"
}

# ---- traces that a node leaves on its machine: only those that were not there before are taken away again

# Folders, and a socket, whose place a kubelet does not let one choose.
KUBELET_FOLDERS=(/var/run/dockershim.sock /var/lib/kubelet /var/lib/dockershim /var/log/pods /var/log/containers /usr/libexec/kubernetes)
LOCALNET=/proc/sys/net/ipv4/conf/all/route_localnet # the proxy sets it, for NodePorts on loopback

note_machine() {
    local folder
    [ ! -e "$KUBE/before" ] || return 0
    {
        for folder in "${KUBELET_FOLDERS[@]}"; do [ -e "$folder" ] || echo "folder $folder"; done
        iptables-save 2>/dev/null | grep -q ' KUBE-' || echo "iptables none"
        echo "localnet $(cat $LOCALNET)"
    } >"$KUBE/before.tmp"
    mv "$KUBE/before.tmp" "$KUBE/before"
}

clean_machine() {
    local what value
    [ -e "$KUBE/before" ] || return 0
    while read -r what value; do
        case $what in
        folder) rm -rf "$value" ;;
        iptables) remove_kube_chains ;;
        localnet) echo "$value" >$LOCALNET ;;
        esac
    done <"$KUBE/before"
}

# First the rules that lead to the chains, then the chains.
remove_kube_chains() {
    local table tool
    for tool in iptables ip6tables; do
        for table in filter nat mangle; do
            { $tool -w -t $table -S 2>/dev/null || true; } | sed -n -e '/KUBE-/{s/^-A/-D/p}' -e 's/^-N \(KUBE-.*\)/-F \1/p' |
                sort | xargs -r -L 1 $tool -w -t $table
            { $tool -w -t $table -S 2>/dev/null || true; } | sed -n 's/^-N \(KUBE-.*\)/-X \1/p' | xargs -r -L 1 $tool -w -t $table
        done
    done
}
