# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the user interface: com.citrix.xenclient.xenmgr.config.ui.  Keys are absolute.  Rows."""

from openxt_core.errors import IoError, NotSupported, UnsupportedLanguage
from openxt_xenmgr.host.facts import language, supported_languages
from openxt_xenmgr.host.programs import output_of, run
from openxt_xenmgr.properties.table import Effect, Live, Row, Stored
from openxt_xenmgr.vm.tree import Tree, encode, text
from openxt_xenmgr.world import World

TRAIL_KEY = "xenmgr/pointerTrailTimeout"
DRM_SCRIPT = "/usr/share/xenclient/drm_graphics_option.sh"
CC = Effect.CONFIG
MS_PER_S = 1000


def trail_ms(tree: Tree) -> int:
    """Milliseconds; stored are seconds with a fraction."""
    try:
        return round(float(text(tree, TRAIL_KEY, "0")) * MS_PER_S)
    except (ValueError, OverflowError):
        return 0


def trail_text(milliseconds: int) -> str:
    return encode(milliseconds / MS_PER_S)


def set_language(world: World, word: str) -> None:
    """Raises UnsupportedLanguage (236)."""
    known = supported_languages(world.places)
    if word not in known:
        raise UnsupportedLanguage(f"language {word[:30]!r} is not supported: {', '.join(known)} are")
    path = world.places.at("/config/language.conf")
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(f"LANGUAGE='{word}'\n")
        fresh.replace(path)
    except OSError as error:
        raise IoError(f"IO error: {path}: {error.strerror}") from error
    world.announcer.config_changed()
    world.announcer.language_changed()


async def _drm_graphics(world: World) -> bool:
    script = world.places.at(DRM_SCRIPT)
    return script.exists() and (await output_of(str(script), "-g")).strip() == "true"


async def _set_drm_graphics(world: World, value: bool) -> None:
    """Legacy: OpenXT's own script changes the boot entry."""
    script = world.places.at(DRM_SCRIPT)
    if not script.exists():
        raise NotSupported(f"drm-graphics: this host has no {DRM_SCRIPT}")
    await run(str(script), "-u", "-s", encode(value))


ROWS: tuple[Row[World], ...] = (
    #      name                              key                                default
    Stored("show-msg-on-vm-start",           "xenmgr/showMsgOnVmStart",         True,  effect=CC),
    Stored("show-msg-on-vm-start-tools-warning", "xenmgr/showMsgOnVmStartToolsWarning", True, effect=CC),
    Stored("show-msg-on-no-disk",            "xenmgr/showMsgOnNoDisk",          True,  effect=CC),
    Stored("show-mboot-warning",             "xenmgr/showMbootWarning",         True,  effect=CC),
    Stored("show-tools-warning",             "xenmgr/showToolsWarning",         True,  effect=CC),
    Stored("wallpaper",                      "xenmgr/wallpaper", "images/wallpapers/s9.png", effect=CC),
    Stored("view-type",                      "xenmgr/viewType",                 "",    effect=CC),
    Stored("modify-settings",                "xenmgr/uiModifySettings",         True,  effect=CC),
    Stored("modify-services",                "xenmgr/uiModifyServices",         True,  effect=CC),
    Stored("modify-advanced-vm-settings",    "xenmgr/uiModifyAdvancedVmSettings", True, effect=CC),
    Stored("modify-usb-settings",            "xenmgr/uiModifyUsbSettings",      True,  effect=CC),
    Stored("idle-time-threshold",            "xenmgr/idle-time-threshold",      0, least=0, effect=CC,
           unit="s"),
    Stored("switcher-enabled",               "switcher/enabled",                True),
    Stored("switcher-self-switch-enabled",   "switcher/self-switch-disabled",   False, inverted=True),
    Stored("switcher-keyboard-follows-mouse", "switcher/keyboard_follows_mouse", False),
    Stored("switcher-resistance",            "switcher/resistance",             10),
    Stored("switcher-status-report-enabled", "switcher/status-report-enabled",  True),
    Stored("pointer-trail-timeout",          TRAIL_KEY,  0, least=0, unit="ms", effect=CC,
           shown=lambda tree, _: trail_ms(tree), written=trail_text),
    Live("language",            "s",  lambda world: language(world.places), set_language),
    Live("supported-languages", "as", lambda world: supported_languages(world.places)),
    Live("drm-graphics",        "b",  _drm_graphics, _set_drm_graphics),
)  # fmt: skip
