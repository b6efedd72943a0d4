#!/bin/bash
# Makes ready what the testbed needs on a Debian 12 machine with git, make, Rust
# and Go: Debian packages, and programs built from source into a cache outside
# of the checkout (WEFT_CACHE, ~/.cache/weft by default).
#
# Each built program is kept under its version, or under a hash of what it is
# built from, so a second run has nothing to do and says so at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEFT_CACHE:-$HOME/.cache/weft}

HELM=v3.22.0
COREDNS=v1.15.0
GOBGP=v4.8.0
KUBERNETES=v1.36.3
PACKAGES=(etcd-server containerd runc containernetworking-plugins buildah nftables iptables
  ethtool conntrack tcpdump iperf3 busybox-static iproute2 procps util-linux curl bird2 frr)

start=$SECONDS
say() { printf '%4ds  %s\n' $((SECONDS - start)) "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output in a log, and prints a line each 15 s until it
# ends, so that a long build is seen to live.
watched() {
  local what=$1 log=$2 begun=$SECONDS pid
  shift 2
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    for _ in {1..15}; do sleep 1; kill -0 "$pid" 2>/dev/null || break; done
    kill -0 "$pid" 2>/dev/null && say "  $what: $((SECONDS - begun)) s so far"
  done
  if ! wait "$pid"; then
    tail -n 20 "$log" >&2
    die "$what failed; the whole output is in $log"
  fi
}

# Debian starts a service as it installs it. A policy that refuses prevents this;
# the testbed runs every daemon by itself, in namespaces of its own.
install_packages() {
  local policy=/usr/sbin/policy-rc.d kept=""
  if [ -e "$policy" ]; then kept=$(mktemp); cp -p "$policy" "$kept"; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  local status=0
  { apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } || status=$?
  if [ -n "$kept" ]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
  if [ "$status" = 0 ] && [ -d /run/systemd/system ]; then
    for unit in etcd containerd iperf3 bird frr; do
      systemctl disable --quiet "$unit" 2>/dev/null || true
    done
  fi
  return "$status"
}

packages() {
  local missing=() p
  for p in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "installing ${missing[*]} needs root"
  say "Debian packages, about 30 s: ${missing[*]}"
  watched "packages" "$cache/log/packages.log" install_packages "${missing[@]}"
}

# built DIRECTORY PROGRAM WHAT-AND-HOW-LONG COMMAND...: runs the command with a
# fresh directory as $out unless the directory is there. It appears only once it is whole.
built() {
  local dir=$1 program=$2 what=$3
  shift 3
  [ -x "$cache/$dir/$program" ] && return
  command -v go >/dev/null || die "$what needs Go 1.26 or newer in PATH"
  say "$what"
  out=$(mktemp -d "$cache/.$dir.XXXXXX")
  export out
  watched "$program" "$cache/log/$program.log" "$@"
  chmod 755 "$out"
  rm -rf "${cache:?}/$dir"
  mv "$out" "$cache/$dir"
}

build_kubernetes() {
  cd "$here/kubernetes"
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$out/kubernetes" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$KUBERNETES" .
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    ln -s kubernetes "$out/$name"
  done
}

go_install() { cd / && CGO_ENABLED=0 GOBIN=$out go install -trimpath -ldflags "-s -w" "$@"; }

mkdir -p "$cache/bin" "$cache/log"
exec 9>"$cache/.lock"
flock -n 9 || { say "another setup is running; waiting for it"; flock 9; }

packages
sources=$(cd "$here/kubernetes" && cat main.go go.mod go.sum | sha256sum | cut -c1-12)
built "kubernetes-$sources" kubernetes "Kubernetes $KUBERNETES, about 5 minutes the first time" build_kubernetes
built "helm-$HELM" helm "Helm $HELM, about 2 minutes the first time" go_install "helm.sh/helm/v3/cmd/helm@$HELM"
built "coredns-$COREDNS" coredns "CoreDNS $COREDNS, about 2 minutes the first time" go_install "github.com/coredns/coredns@$COREDNS"
built "gobgp-$GOBGP" gobgpd "GoBGP $GOBGP, about 1 minute the first time" go_install \
  "github.com/osrg/gobgp/v4/cmd/gobgpd@$GOBGP" "github.com/osrg/gobgp/v4/cmd/gobgp@$GOBGP"

for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sfn "../kubernetes-$sources/$name" "$cache/bin/$name"
done
ln -sfn "../helm-$HELM/helm" "$cache/bin/helm"
ln -sfn "../coredns-$COREDNS/coredns" "$cache/bin/coredns"
ln -sfn "../gobgp-$GOBGP/gobgpd" "$cache/bin/gobgpd"
ln -sfn "../gobgp-$GOBGP/gobgp" "$cache/bin/gobgp"
say "everything that the testbed needs is in $cache"
