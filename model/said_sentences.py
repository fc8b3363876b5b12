"""A hundred sentences off the order line, never trained on, for a model that can be made to say anything.

Plain words in everyday English, no digits. `model.training.announcement_texts` keeps them out of training.
No torch here.
"""

from __future__ import annotations

HELD_OUT_SENTENCES: tuple[str, ...] = tuple(
    line
    for line in """\
The library closes early on the last Friday of the month.
Her grandmother grew tomatoes behind the old garage.
Please leave the blue folder on the kitchen table.
A thick fog covered the harbor until noon.
Our train was delayed by a fallen tree.
The doctor will see you after the holiday.
He painted the fence a pale shade of green.
They found a silver key under the carpet.
Snow is expected in the hills this weekend.
The museum has a new room about whales.
Take the second left after the stone bridge.
My brother learned to sail on this lake.
The engine makes a strange noise when it is cold.
Nobody remembered to water the plants.
The judge asked the witness to speak up.
Your parcel was handed to a neighbor.
The choir sings in the square every winter.
We moved the piano up three flights of stairs.
The price of bread rose again last week.
She keeps her letters in a wooden box.
The battery lasts about nine hours.
A fox crossed the road in front of us.
The teacher wrote the answer on the board.
Both of the elevators are out of order.
It rained so hard that the streets were flooded.
The pilot turned back because of the storm.
His shoes were full of sand and water.
Wash the shirt by hand in cold water.
The film begins at a quarter past eight.
An old sailor told us the way to the island.
The children built a castle out of boxes.
Every window in the house was open.
The farmer sold his horses in the spring.
I have never heard such a beautiful voice.
The password must be changed every thirty days.
Two of the runners fell at the final corner.
The baker gets up long before sunrise.
Keep the medicine away from bright light.
The committee voted against the plan.
Someone has parked a truck across the gate.
The cat sleeps on top of the bookshelf.
Those mountains are higher than they look.
The ferry leaves from the northern pier.
She forgot her umbrella on the bus.
The lawyer explained the contract page by page.
A loud crash woke the whole village.
The river is too shallow for large boats.
We planted apple trees along the path.
The nurse checked his temperature twice.
All flights to the coast have been canceled.
The clock in the tower has stopped.
My cousin repairs watches and cameras.
The soup needs a little more pepper.
They danced until the band went home.
The new road goes around the forest.
Your passport must be valid for six months.
The goalkeeper was the best player on the field.
He wrapped the vase in old newspapers.
The moon rose slowly over the desert.
Bring a warm jacket and good boots.
The factory makes wheels for bicycles.
The shelf is too heavy for one person.
A young couple bought the house next door.
The mayor opened the bridge with a short speech.
The printer has run out of paper again.
They speak three languages at home.
The bees are busy in the lavender.
We heard thunder far away to the south.
The tailor shortened the sleeves by an inch.
The winner gave half of the prize to charity.
Do not touch the glass while it is hot.
The road to the valley was blocked by sheep.
The actor forgot the middle of his speech.
Her flight lands shortly before midnight.
The ceiling was painted with stars.
The old dog follows him everywhere.
The bank sent me a letter about the account.
The gardener cut the roses back in March.
A crowd gathered outside the theater.
The repair took longer than we thought.
The fire started in an empty building.
Most birds leave the island in autumn.
The guide showed us a hidden garden.
The box was full of rusty nails.
The tide comes in faster than you think.
His handwriting is impossible to read.
The captain asked everyone to stay below.
The wedding was held in a small chapel.
Her answer surprised the whole class.
The keys are hanging beside the front door.
The carpenter measured the frame again.
The valley is famous for its cheese.
The students marched through the center of town.
A broken pipe flooded the basement.
The rocket was launched before dawn.
The shop on the corner sells used furniture.
He whistles while he washes the dishes.
The police returned the stolen bicycle.
Nothing grows under those dark trees.
The orchestra played the last piece twice.
""".splitlines()
    if line
)
