"""/slots: who sits where, without a word of what they said; saving and restoring where there is a folder for it."""

import os
import re
from pathlib import Path

from pydantic import Field
from starlette.responses import Response

from ....errors import VkrunError
from ...jobs import SlotInfo
from ..endpoint import Call, Endpoint
from ..errors import ApiError, Json
from ..fields import Body
from ..schemas.replies import SlotActionReply, SlotsReply
from ..served import SavesSlots

ACTIONS = ("save", "restore", "erase")
NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"  # of a file in the folder, and of nothing outside of it


class SlotAction(Body):
    filename: str | None = Field(default=None, pattern=NAME)


async def slots(call: Call) -> Response:
    return Json([_slot(slot) for slot in call.served.workers.slots()])


def _slot(slot: SlotInfo) -> dict[str, int | bool]:
    return {
        "id": slot.id,
        "worker": slot.worker,
        "n_ctx": slot.n_ctx,
        "is_processing": slot.job is not None,
        "n_prompt": slot.n_prompt,
        "n_read": slot.n_read,
        "n_reused": slot.n_reused,
        "n_generated": slot.n_generated,
    }


async def act_on_slot(call: Call, body: SlotAction) -> Response:
    action, slot = call.request.query_params.get("action", ""), call.request.path_params["id_slot"]
    if action not in ACTIONS:
        raise ApiError(400, f"action: {action!r:.40}, expected {', '.join(ACTIONS)}", param="action")
    if slot not in {s.id for s in call.served.workers.slots()}:
        raise ApiError(404, f"no slot {slot:.20g}", param="id_slot")
    try:
        return Json({"id_slot": slot, "n_tokens": await _act(call, action, slot, body)})
    except (OSError, VkrunError) as error:
        said = error.strerror or "" if isinstance(error, OSError) else str(error)
        folder = f"{call.served.options.slot_save_path}{os.sep}"  # which is nobody's business
        raise ApiError(400, f"slot {slot}: {said.replace(folder, '')}") from None


async def _act(call: Call, action: str, slot: int, body: SlotAction) -> int:
    workers = call.served.workers
    if not isinstance(workers, SavesSlots):
        raise ApiError(501, "slots: these workers save none")
    if action == "erase":
        return await workers.erase(slot)
    path = str(_path(call, body))
    return await (workers.save(slot, path) if action == "save" else workers.restore(slot, path))


def _path(call: Call, body: SlotAction) -> Path:
    folder = call.served.options.slot_save_path
    if folder is None:
        raise ApiError(501, "saving slots: --slot-save-path says where to")
    if body.filename is None or not re.match(NAME, body.filename):
        raise ApiError(400, "filename: missing", param="filename")
    return folder / body.filename


ENDPOINTS = (
    Endpoint("GET", "/slots", slots, "Who is served", gives=SlotsReply),
    Endpoint(
        *("POST", "/slots/{id_slot:int}", act_on_slot, "Save, restore or erase what a slot holds"),
        *(SlotAction, SlotActionReply),
        statuses=(404, 501),
        query=(("action", ACTIONS),),
    ),
)
