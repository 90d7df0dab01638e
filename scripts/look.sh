#!/usr/bin/env bash
# Pictures of an HTML page of the product, for a person to look at: as on a desk and on a phone, light and dark.
#   scripts/look.sh PAGE.html [DIRECTORY]      a report of `salt-run vmdk.report`; pictures go into build/look unless told otherwise
# Needs Chromium (package chromium), which nothing else here does.
set -euo pipefail

fail() {
    echo "look: $*" >&2
    exit 1
}

[[ $# -ge 1 && -f $1 ]] || fail "say which page: scripts/look.sh PAGE.html [DIRECTORY]"
page=$(realpath "$1")
into=${2:-$(dirname "${BASH_SOURCE[0]}")/../build/look}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    fail "no Chromium is here; install it (apt-get install chromium), or open the page in a browser of yours"
mkdir -p "$into"
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
frame=$profile/frame.html

# A window of Chromium is 500 wide at least, so the page is shown in a frame of the width that is wanted.
picture() { # NAME WIDTH HEIGHT SCHEME: 0 is dark, 1 is light
    local room=$(($2 < 500 ? 500 : $2))
    printf '<body style="margin:0"><iframe style="border:0" width=%d height=%d src="file://%s"></iframe>' "$2" "$3" "$page" >"$frame"
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile/data" \
        --allow-file-access-from-files --blink-settings=preferredColorScheme="$4" --window-size="$room,$3" \
        --screenshot="$into/$1.png" "file://$frame" 2>"$profile/said" >&2 || true
    [[ -s $into/$1.png ]] || fail "$browser made no picture: $(tail -n 3 "$profile/said")"
    echo "$into/$1.png"
}
rm -f "$into"/{desk,phone}-{light,dark}.png
picture desk-light 1280 2400 1
picture desk-dark 1280 2400 0
picture phone-light 390 3200 1
picture phone-dark 390 3200 0
