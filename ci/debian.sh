# shellcheck shell=bash
# Sourced by bench.sh, counts.sh, msrv.sh, targets.sh and windows.sh; not a check. Debian's second Rust (rustc-web, cargo-web, rust-web-src)
# is 1.85.0, our MSRV. It lives in /usr/bin beside any rustup, and brings the sources of std, so that it can build
# for every target, installed or not.

# Installs the given Debian packages where they are missing. Fails, and says what to do, where that cannot be done.
debian_packages() {
    local package missing=() log
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "this check needs Debian's packages ($*), and this is no Debian" >&2
        return 1
    fi
    for package in "$@"; do
        # shellcheck disable=SC2016  # dpkg expands it
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: run this once as root, or install ${missing[*]}" >&2
        return 1
    fi
    echo "installing ${missing[*]}"
    log=$(mktemp)
    if ! { apt-get update && debian_install "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# The Rust packages are asked for by version: security updates carry newer ones under the same name.
debian_install() {
    local package rust wanted=()
    rust=$(apt-cache madison rustc-web | awk '$3 ~ /^1\.85/ { print $3; exit }')
    for package in "$@"; do
        case $package in
            rustc-web | cargo-web | rust-web-src | libstd-rust-web-dev) wanted+=("$package${rust:+=$rust}") ;;
            *) wanted+=("$package") ;;
        esac
    done
    DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends --allow-downgrades "${wanted[@]}" </dev/null
}

# Makes `debian_cargo` build with Rust 1.85 and with the unstable -Zbuild-std.
debian_rust() {
    debian_packages rustc-web cargo-web libstd-rust-web-dev rust-web-src "$@" || return 1
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    case $("$RUSTC" --version) in
        "rustc 1.85."*) ;;
        *)
            echo "/usr/bin/rustc is $("$RUSTC" --version), not 1.85" >&2
            return 1
            ;;
    esac
}

debian_cargo() {
    /usr/bin/cargo "$@"
}
